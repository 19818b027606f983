import enum
from typing import Any

# An enumeration of Amaranth is one of Python that also has a shape.
class Enum(enum.Enum):
    def __init_subclass__(cls, *, shape: Any = ..., view_class: Any = ...) -> None: ...

def __getattr__(name: str) -> Any: ...
