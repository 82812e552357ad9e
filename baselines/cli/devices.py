"""Checks that this machine has a device, before a command does anything."""

from mfenvs.engine.cuda.device import device_index, open_device


def check_simulation_device(device: str) -> None:
    """Raise a ValueError if worlds cannot be simulated on a device of this name on this machine."""
    index = device_index(device)
    if index is None:
        return
    try:
        open_device(index)
    except (ImportError, RuntimeError) as error:
        raise ValueError(str(error)) from None


def check_network_device(device: str) -> None:
    """Raise a ValueError if networks cannot be trained on a device of this name on this machine."""
    import torch

    try:
        torch.zeros(1, device="cpu" if device == "auto" else device).item()
    except Exception as error:  # RuntimeError, AssertionError, NotImplementedError: it depends on torch's build.
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device must be auto, cpu, cuda or another one that torch can use here, got {device!r}: {reason}"
        ) from None
