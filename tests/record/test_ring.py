"""The ring: every slot arrives once and in its place, and without a free buffer it is dropped, not waited for."""

import pytest
import torch

from gradaudit.record.measure.ring import BUFFERS, MOST_BYTES, Ring

CPU = torch.device("cpu")


def filled(ring, values):
    slots = []
    for value in values:
        slots.append(ring.slot())
        slots[-1].rows.fill_(value)
    return slots


def values(slots):
    return [slot.read()[0, 0] for slot in slots]


def test_slots_arrive_in_their_places():
    ring = Ring(3, 16, CPU, 4)
    slots = filled(ring, range(6))
    assert [slot.arrival is None for slot in slots] == [False] * 4 + [True] * 2, "a full half leaves by itself"
    assert all(slot.depart() for slot in slots)
    assert values(slots) == [0, 1, 2, 3, 4, 5]
    assert slots[0].read().shape == (3, 16)
    assert len({slot.arrival for slot in slots}) == 2


def test_without_a_free_buffer_slots_are_dropped_until_one_is_given_back():
    ring = Ring(1, 16, CPU, 2)
    slots = filled(ring, range(2 * BUFFERS + 3))
    assert [slot.depart() for slot in slots] == [True] * (2 * BUFFERS) + [False] * 3
    assert values(slots[: 2 * BUFFERS]) == list(range(2 * BUFFERS)), "what is on its way is not written over"
    slots[0].arrival.release()
    (late,) = filled(ring, [99])
    assert late.depart()
    assert values([late]) == [99]


def test_a_slot_that_was_dropped_stays_dropped():
    ring = Ring(1, 16, CPU, 1)
    slots = filled(ring, range(BUFFERS + 1))
    assert not slots[-1].depart()
    for slot in slots[:-1]:
        slot.arrival.release()
    assert not slots[-1].depart()


@pytest.mark.parametrize("tensors", [0, 1, 150, 20_000, 200_000])
def test_many_tensors_get_fewer_slots(tensors):
    ring = Ring(tensors, 16, CPU, 32)
    row = 8 * 16 * tensors
    assert ring._halves[0].nbytes <= max(MOST_BYTES, row)
    assert 1 <= len(ring._halves[0]) <= 32
