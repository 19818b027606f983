# Amaranth is untyped, and its components get their ports when they are made. What pyright infers from its source is
# wrong so often that it would hide real errors: here, all of it is Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
