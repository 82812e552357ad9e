"""Puts the folder ``baselines`` into a wheel as ``mfenvs/baselines``; an editable install leaves it alone."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class InstallBaselinesInside(BuildHookInterface):  # type: ignore[misc,type-arg]
    """Adds the trainers to what a wheel holds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the folder and its place, unless the install is editable (``version``)."""
        if version != "editable":
            build_data["force_include"]["baselines"] = "mfenvs/baselines"
