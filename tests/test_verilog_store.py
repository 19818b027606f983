"""Verilog is generated again when, and only when, something it is made from has changed."""

import pytest

from acf.sim import verilog_store
from acf.sim.verilog_store import stored_verilog


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The only source there is."""
    source = tmp_path / "lane.py"
    source.write_text("width = 1\n")
    monkeypatch.setenv("ACF_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(verilog_store, "_sources", lambda package: [source])
    return source


@pytest.fixture
def generated():
    """Designs that were generated, by a generator that never gives the same text twice."""
    return []


def of(generated, name="lane-0123"):
    def generate():
        generated.append(name)
        return f"module {name}; // {len(generated)}\nendmodule\n"

    return stored_verilog(name, generate)


def test_same_sources_give_the_stored_text(source, generated):
    assert of(generated) == of(generated) == "module lane-0123; // 1\nendmodule\n"
    assert generated == ["lane-0123"]


def test_designs_are_told_apart(source, generated):
    assert of(generated, "lane-0123") != of(generated, "lane-4567")
    assert generated == ["lane-0123", "lane-4567"]


def test_a_changed_source_generates_anew(source, generated, tmp_path):
    before = of(generated)
    source.write_text("width = 2\n")
    assert of(generated) != before
    assert of(generated) == "module lane-0123; // 2\nendmodule\n"
    assert [file.name for file in (tmp_path / "build" / "verilog").iterdir()] == ["lane-0123.v"]


def test_another_tool_generates_anew(source, generated, monkeypatch):
    of(generated)
    monkeypatch.setattr(verilog_store.importlib.metadata, "version", lambda tool: "another")
    of(generated)
    assert len(generated) == 2


def test_what_fails_stores_nothing(source, generated, tmp_path):
    with pytest.raises(ZeroDivisionError):
        stored_verilog("lane-0123", lambda: str(1 // 0))
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("package", ["acf.config", "acf.hw", "acf.isa", "acf.link"])
def test_packages_have_sources(package):
    assert all(file.suffix == ".py" and file.stat().st_size for file in verilog_store._sources(package))
    assert list(verilog_store._sources(package))
