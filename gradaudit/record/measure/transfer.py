"""Brings values that are still on devices to the host: in the writer's thread, all of one type in one copy."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch

_streams: dict[torch.device, Any] = {}


_used: set[torch.device] = set()  # CUDA devices on which values of ours were found


def streams() -> list[Any]:
    """The CUDA streams that this thread works on now; asked for by the training, used by the writer's thread."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return [torch.cuda.current_stream(), *(torch.cuda.current_stream(device) for device in _used)]


def departures(thing: Any, seen: Sequence[Any] | None = None) -> list[Any]:
    """Events after which the values in `thing` are complete, of each CUDA device that holds some of them.

    They are recorded on this thread's streams. Outside of the training's thread they are recorded on those
    of `seen`, and on the default streams, where threads that only evaluate work.
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    events = []
    for device in {tensor.device for tensor in _tensors(thing) if tensor.is_cuda}:
        _used.add(device)
        lanes = {torch.cuda.current_stream(device)}
        if seen is not None:
            lanes = {torch.cuda.default_stream(device), *(stream for stream in seen if stream.device == device)}
        for stream in lanes:
            # Blocking: the writer sleeps in the driver instead of spinning on a core.
            event: Any = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            event.record(stream)
            events.append(event)
    return events


def to_host(thing: Any, ready: Sequence[Any] = ()) -> Any:
    """`thing` with its tensors on the CPU, once the events `ready` have happened.

    Looks into lists, tuples, dictionaries and dataclasses. Copies are made by streams of our own, and
    only their events are waited for: a training that forbids synchronisation stays undisturbed.
    """
    for event in ready:
        event.synchronize()
    groups: dict[tuple[torch.device, torch.dtype], dict[int, torch.Tensor]] = {}
    for tensor in _tensors(thing):
        if tensor.device.type != "cpu":
            groups.setdefault((tensor.device, tensor.dtype), {})[id(tensor)] = tensor.detach()
    if not groups:
        return thing
    arrived: dict[int, torch.Tensor] = {}
    for (device, _), tensors in groups.items():
        flat = _copied([tensor.reshape(-1) for tensor in tensors.values()], device)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors.values()])
        for (key, tensor), part in zip(tensors.items(), parts, strict=True):
            arrived[key] = part.view(tensor.shape)
    return _replaced(thing, arrived)


def _copied(flats: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    if device.type != "cuda":
        return torch.cat(flats).cpu()
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.device(device), torch.cuda.stream(_streams[device]):
        joined = torch.cat(flats)
        host = torch.empty(joined.shape, dtype=joined.dtype, device="cpu", pin_memory=True)
        host.copy_(joined, non_blocking=True)
        done: Any = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record()
    done.synchronize()
    return host


def _parts(thing: Any) -> list[Any]:
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, list | tuple):
        return list(thing)
    return [getattr(thing, field.name) for field in dataclasses.fields(thing)] if _is_dataclass(thing) else []


def _is_dataclass(thing: Any) -> bool:
    return dataclasses.is_dataclass(thing) and not isinstance(thing, type)


def _tensors(thing: Any) -> Iterator[torch.Tensor]:
    if isinstance(thing, torch.Tensor):
        yield thing
    else:
        for part in _parts(thing):
            yield from _tensors(part)


def _replaced(thing: Any, arrived: dict[int, torch.Tensor]) -> Any:
    if isinstance(thing, torch.Tensor):
        return arrived.get(id(thing), thing)
    if isinstance(thing, dict):
        return {key: _replaced(value, arrived) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        parts = [_replaced(part, arrived) for part in thing]
        return type(thing)(*parts) if hasattr(thing, "_fields") else type(thing)(parts)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        names = [field.name for field in dataclasses.fields(thing)]
        return dataclasses.replace(thing, **{name: _replaced(getattr(thing, name), arrived) for name in names})
    return thing
