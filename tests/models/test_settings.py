"""Settings: arguments, then the environment, then the file, then the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trajectory import ConfigurationError, Durability, LoggerSettings, OnFailure, Overflow


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(
        "[other]\nx = 1\n\n[ppp.trajectory]\nbuffer_size = 20\nflush_interval_ms = 200\n"
        'overflow = "raise"\n'
    )
    return path


def test_the_defaults() -> None:
    made = LoggerSettings()
    assert (made.buffer_size, made.flush_interval_ms, made.channel_capacity) == (10, 500, 100)
    assert (made.channel_bytes, made.max_turn_bytes) == (64 * 2**20, 16 * 2**20)
    assert (made.log_timeout_ms, made.flush_timeout_ms, made.close_timeout_ms) == (
        30_000,
        30_000,
        5_000,
    )
    assert (made.durability, made.overflow, made.on_failure) == (
        Durability.JOURNALED,
        Overflow.WAIT,
        OnFailure.RAISE,
    )


def test_each_source_goes_before_the_next(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LoggerSettings.from_toml(file).buffer_size == 20
    monkeypatch.setenv("TRAJECTORY_BUFFER_SIZE", "30")
    monkeypatch.setenv("TRAJECTORY_URL", "sqlite:///elsewhere.db")
    made = LoggerSettings.from_toml(file)
    assert (made.buffer_size, made.flush_interval_ms, made.overflow) == (30, 200, Overflow.RAISE)
    assert LoggerSettings().buffer_size == 30
    assert LoggerSettings.from_toml(str(file), buffer_size=40).buffer_size == 40
    assert type(made) is LoggerSettings


def test_a_file_without_the_table_gives_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[project]\nname = 'x'\n")
    assert LoggerSettings.from_toml(path) == LoggerSettings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[ppp.trajectory]\nbufer_size = 5\n",
            "bufer_size: unknown setting; known are buffer_size",
        ),
        ("[ppp.trajectory]\nbuffer_size = 0\n", "buffer_size: .*greater than or equal to 1"),
        ("[ppp.trajectory]\nbuffer_size = 500\n", "above channel_capacity"),
        ("[ppp.trajectory]\noverflow = 'explode'\n", "overflow"),
        ("[ppp]\ntrajectory = 5\n", "must be a table"),
        ("ppp = 5\n", "must be a table"),
        ("[ppp.trajectory\n", "not valid TOML"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=says) as caught:
        LoggerSettings.from_toml(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        LoggerSettings.from_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"buffer_size": 200}, r"buffer_size \(200\) is above channel_capacity \(100\)"),
        ({"retry_initial_ms": 9000}, "above retry_max_ms"),
        ({"flush_interval_ms": 0}, "flush_interval_ms"),
        ({"durability": "journalled"}, "durability"),
        ({"nonsense": 1}, "nonsense: unknown setting"),
    ],
)
def test_contradictions_are_errors_that_name_them(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        LoggerSettings(**settings)


def test_a_bad_variable_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAJECTORY_CHANNEL_CAPACITY", "many")
    with pytest.raises(ConfigurationError, match="channel_capacity"):
        LoggerSettings()


def test_the_presets() -> None:
    sizes = {
        name: (made.buffer_size, made.flush_interval_ms)
        for name in ("low_latency", "balanced", "high_throughput")
        if (made := getattr(LoggerSettings, name)())
    }
    assert sizes == {
        "low_latency": (1, 100),
        "balanced": (10, 500),
        "high_throughput": (50, 1000),
    }
    assert LoggerSettings.balanced() == LoggerSettings()
    assert LoggerSettings.low_latency(overflow="raise").overflow is Overflow.RAISE


def test_settings_can_t_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        LoggerSettings().buffer_size = 5  # type: ignore[misc]


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAJECTORY_BUFFER_SIZE", "ten")
    with pytest.raises(ConfigurationError, match=r"^TRAJECTORY_BUFFER_SIZE, buffer_size: "):
        LoggerSettings()
    monkeypatch.setenv("TRAJECTORY_BUFFER_SIZE", "10")
    with pytest.raises(ConfigurationError, match=r"^buffer_size: "):
        LoggerSettings(buffer_size=0)
