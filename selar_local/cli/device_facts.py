"""What `doctor` says about a device, and what fits on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selar_local.llama.devices import Device


def device_facts(device: Device) -> dict[str, Any]:
    """The facts, in bytes. fits: of layers, KV cache and buffers together; only of a device that takes layers."""
    from selar_local.llama.fit import budget

    facts: dict[str, Any] = {
        "name": device.name,
        "description": device.description,
        "type": device.kind,
        "memory_free": device.memory_free,
        "memory_total": device.memory_total,
    }
    if device.takes_layers:
        facts["fits"] = budget(device.memory_free, device.memory_total)
    return facts


def device_line(facts: dict[str, Any]) -> str:
    """The facts in one line."""
    memory = ""
    if facts["memory_total"]:
        free, total = (facts[name] / 2**30 for name in ("memory_free", "memory_total"))
        memory = f", {free:.1f} of {total:.1f} GiB free" if "fits" in facts else f", {total:.1f} GiB"
    fits = f": {facts['fits'] / 2**30:.1f} GiB for layers, KV cache and buffers" if "fits" in facts else ""
    return f"{facts['name']}: {facts['description']} ({facts['type']}{memory}){fits}"
