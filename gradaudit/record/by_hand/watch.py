"""Finds the steps of a training without torch's optimizers: a backward, after which the script changed its leaves.

A backward opens what may become a step and measures the gradients. What comes next, another backward or an
evaluation, sees whether the parameters have changed, and closes it. When they have not, gradients were accumulated.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gradaudit.record.by_hand.graph import goes_through, leaves_of, looks_at
from gradaudit.record.by_hand.hand import Hand, gradient_state, make
from gradaudit.record.by_hand.opened import Opened
from gradaudit.record.by_hand.table import disown, forget, held_by_optimizers, rebind
from gradaudit.record.observe.naming import matching, own_parameters, registered
from gradaudit.record.observe.optimizers import any_known as any_optimizer

_PATIENCE = 3  # backwards, after which an optimizer that never stepped is taken to be there for another purpose
_TRIAL = 100  # changes of an input, after which to optimise it is taken for the training
_UNCHANGED = 64  # backwards that change nothing, after which none is measured any more
_PASSED = 2  # steps of another hand, after which tensors that they leave as they were are not measured as one
_MOST = 64  # hands of one thread
_KINDS = (torch.Tensor, nn.Parameter)


class Watch:
    """The hand-made steps of one thread."""

    def __init__(self, recording: Any) -> None:
        self.recording, self.between = recording, recording.between  # this thread's
        self.hands: list[Hand] = []
        self.opened: dict[Hand, Opened] = {}
        self.backwards = self.since = 0  # in all, and since a step of torch's optimizers
        self.hooked = 0  # steps of torch's optimizers in this thread, at its last backward
        self.missed = 0  # backwards in a row that reached no tensor that is watched
        self._states: list[Any] = []
        self._leaves: set[int] = set()  # of the backward that runs, where its gradients cannot be looked at

    def count(self, backwards: int) -> None:
        """Count backwards; a step of torch's optimizers since the last one begins anew."""
        hooked = self.between.hooked
        self.backwards += backwards
        self.since, self.hooked = self.since + 1 if self.hooked == hooked else 1, hooked

    def before(
        self, roots: Sequence[Any], given: Sequence[torch.Tensor] | None = None, names: dict[int, str] | None = None
    ) -> bool:
        """A backward is about to run from `roots`, to its leaves or those `given`; whether one is watched."""
        self.count(1)
        looks = given is not None or self._looks()
        if not (looks or self.hands):
            self.missed += 1
            return False
        leaves = None if given is None else list(given)
        if leaves is None and (looks or any(hand.replaced or hand.changed() is None for hand in self.opened)):
            leaves = leaves_of(roots)
        watched = len(self.hands)
        self.settle(leaves)
        if leaves is not None and (looks or len(self.hands) < watched):
            self._take_up(roots, leaves, given is not None, names or {})
        self._states = [self._state(hand) for hand in self.hands]
        if leaves is None and None in self._states:
            leaves = leaves_of(roots)
        self._leaves = {id(leaf) for leaf in leaves or ()}
        wanted = {id(leaf) for leaf in given or ()}
        return given is None or any(id(one) in wanted for hand in self.hands for one in hand.parameters())

    def after(self, given: Sequence[torch.Tensor] | None = None, gradients: Sequence[Any] | None = None) -> None:
        """The backward has run: gradients exist, in the parameters or those given."""
        reached = []
        for hand, state in zip(list(self.hands), self._states, strict=False):
            hand.given = None
            if given is not None and gradients is not None:
                hand.given = {id(leaf): gradient for leaf, gradient in zip(given, gradients, strict=True)}
                if any(id(parameter) in hand.given for parameter in hand.parameters()):
                    reached.append(hand)
            elif self._reached(hand, state) or hand.changed():
                reached.append(hand)
        for hand in reached:
            if hand.parts:
                states = self._states[self.hands.index(hand)], self._state(hand)
                hand.note_touched(*states, self._leaves, anew=hand not in self.opened)
            self._open(hand)
            hand.gradients = None if given is not None else self._state(hand)
        self.missed = 0 if reached else self.missed + 1
        told = [self.opened[hand] for hand in reached if hand in self.opened and hand.counts()]
        if told:
            # What is forwarded from now on is the next step's.
            told[0].samples += self.recording.sample_next(ahead=1)

    def settle(self, leaves: Sequence[torch.Tensor] | None = None, ending: bool = False) -> None:
        """Close the steps that were made; `leaves` are those of a coming backward, where they are known."""
        made: list[tuple[Opened, list[torch.Tensor] | None]] = []
        for hand, opened in list(self.opened.items()):
            changed = hand.changed()
            if changed:
                made.append((opened, changed))
            elif leaves is not None and self._replace(hand, leaves, gone=changed is None):
                made.append((opened, None))
            elif (changed is None and (leaves is not None or ending)) or (hand.replaced and ending):
                self._let_go(opened)
        self._merge(made)
        for opened, changed in made:
            if opened.hand in self.hands and opened.crossed and not opened.hand.steps:
                # A copy of what an optimizer trains: its gradients went to the optimizer, and it was loaded anew.
                self._drop(opened.hand)
            elif opened.hand in self.hands:
                self._close(opened, changed)

    def on_step(self, optimizer: Any) -> None:
        """An optimizer steps by itself: what it holds is not changed by hand."""
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for hand in list(self.hands):
            if any(id(parameter) in held for parameter in hand.parameters()):
                self._drop(hand)
        for opened in self.opened.values():
            opened.crossed = True

    def on_clip(self, parameters: Sequence[torch.Tensor]) -> None:
        """Gradients were clipped: those measured are not the ones that the script uses."""
        clipped = {id(parameter) for parameter in parameters}
        for hand, opened in self.opened.items():
            if not hand.trial and any(id(parameter) in clipped for parameter in hand.parameters()):
                opened.look(self.recording)

    def _reached(self, hand: Hand, before: list[Any] | None) -> bool:
        """Whether the backward gave the hand's parameters gradients, whose state was `before`."""
        after = self._state(hand)
        if before is None or after is None:
            return not hand.held.isdisjoint(self._leaves)
        return after != before

    def _state(self, hand: Hand) -> list[Any] | None:
        # What another thread writes to at this moment is not looked at.
        return gradient_state(hand) if self.between.undisturbed(hand.held) else None

    def _looks(self) -> bool:
        """Whether the leaves of this backward are looked for."""
        often = looks_at(self.backwards)
        known = any_optimizer()
        again = self.since == _PATIENCE if known else 0 < self.missed < _UNCHANGED
        if not (often or again) or not known:
            return often or again
        held = self._held()
        return any(parameter.requires_grad and id(parameter) not in held for parameter in own_parameters(registered()))

    def _held(self) -> set[int]:
        """The tensors that torch's optimizers change: of those that have stepped, or may still do."""
        return held_by_optimizers(self.recording.table, stepped=self.since >= _PATIENCE)

    def _take_up(
        self, roots: Sequence[Any], leaves: Sequence[torch.Tensor], given: bool, names: dict[int, str]
    ) -> None:
        """Watch the leaves that nobody changes yet."""
        known = any_optimizer()
        if known and not any(isinstance(leaf, nn.Parameter) for leaf in leaves):
            return
        held = self._held() | {id(parameter) for hand in self.hands for parameter in hand.parameters()}
        mine = [leaf for leaf in dict.fromkeys(leaves) if id(leaf) not in held and type(leaf) in _KINDS]
        # Beside the parameters of a model, or beside torch's optimizers, another leaf is an input.
        parameters: list[torch.Tensor] = [leaf for leaf in mine if isinstance(leaf, nn.Parameter)]
        if not given and not known and not any(hand.steps for hand in self.hands):
            self._take_up_beside([leaf for leaf in mine if parameters and not isinstance(leaf, nn.Parameter)])
        mine = parameters or ([] if known or any(isinstance(leaf, nn.Parameter) for leaf in leaves) else mine)
        if not mine or len(self.hands) >= _MOST:
            return
        copied_from = None if parameters else matching(mine)
        beside = not parameters and copied_from is None and goes_through(registered(), roots)
        if beside and given:
            return  # a derivative with respect to an input
        hand = make(copied_from or mine, names)
        # Until it has stepped, what the first hand leaves alone is nobody's.
        hand.early = not known and not beside and not any(other.steps for other in self.hands)
        hand.trial = _TRIAL if beside else 0
        hand.unsure = given and not parameters and copied_from is None
        self.hands.append(hand)
        if copied_from is not None:
            self.recording.table.unchecked_parameter_set(hand)
            hand.identifiers = self.recording.table.identifiers_of(copied_from)
            self._put(hand, mine)
            hand.mark()

    def _take_up_beside(self, leaves: Sequence[torch.Tensor]) -> None:
        """Watch leaves beside parameters: if these rest, what changes at each backward is trained through them."""
        for leaf in leaves[: _MOST - len(self.hands) - 1]:
            hand = make([leaf], {})
            hand.early, hand.beside, hand.trial = False, True, _TRIAL
            self.hands.append(hand)

    def _replace(self, hand: Hand, leaves: Sequence[torch.Tensor], gone: bool) -> bool:
        """Whether `leaves` have taken the places of the hand's parameters, each a new tensor."""
        held = {id(parameter) for parameter in hand.parameters()}
        new = [leaf for leaf in dict.fromkeys(leaves) if type(leaf) in _KINDS]
        if not hand.fits(new) or any(id(leaf) in held for leaf in new):
            return False
        # Another model of the same shapes is no step.
        if any(isinstance(leaf, nn.Parameter) for leaf in new) and not (gone and hand.resembles(new)):
            return False
        hand.trial, hand.replaced = _TRIAL if hand.trial else 0, True
        self._put(hand, new)
        return True

    def _put(self, hand: Hand, new: Sequence[torch.Tensor]) -> None:
        rebind(self.recording.table, hand, new)
        hand.keep(new)

    def _open(self, hand: Hand) -> None:
        recording = self.recording
        opened = self.opened.get(hand)
        if opened is None:
            opened = Opened(hand, self.between)
            if hand.changed():
                # By a hook, while the backward ran: no moment was left to measure the weights before.
                self._close(opened.at(self.backwards), None)
                return
            self.opened[hand] = opened
        opened.at(self.backwards)
        if hand.counts():
            self._measure(opened)
        elif not hand.trial:
            opened.glance()
        opened.training = recording.table.training()

    def _measure(self, opened: Opened) -> None:
        hand = opened.hand
        # Of gradients that are accumulated the last ones are measured.
        if opened.backwards >= hand.micro_steps and (hand.steps or opened.backwards <= _UNCHANGED):
            opened.look(self.recording)

    def _close(self, opened: Opened, changed: list[torch.Tensor] | None) -> None:
        """The parameters changed since the backward: one step more."""
        hand, recording, started = opened.hand, self.recording, time.perf_counter()
        self.opened.pop(hand, None)
        if hand.trial:
            hand.trial -= 1
            if not (hand.beside and hand.trial):  # else the parameters may be about to step
                self.between.skip()
            for other in self.hands if hand.beside and not hand.trial else ():
                if other.early and not other.steps:
                    self._let_rest(other, None)
            hand.mark()
            return
        if changed is not None and not hand.steps:
            apart = opened.left_alone(changed)
            if apart:
                hand.keep([parameter for parameter in hand.parameters() if id(parameter) not in apart])
                disown(recording.table, hand)
        opened.finish(recording)
        if hand.unsure and not hand.steps and not opened.descends():
            self._drop(hand)
            return
        opened.record_step(recording, started)
        hand.closed(opened.backwards)
        for other in [other for other in self.hands if other.beside and not hand.beside]:
            self._drop(other)
        for other in self.hands:
            if not other.steps and other.early and other in self.opened:
                other.passed += 1
                if other.passed >= _PASSED:
                    self._let_rest(other, hand)

    def _let_rest(self, hand: Hand, stepped: Hand | None) -> None:
        """What others' steps leave alone is nobody's, until it changes."""
        hand.early = False
        if hand in self.opened:
            self.opened[hand].drop()
        forget(self.recording.table, hand, stepped)

    def _merge(self, made: list[tuple[Opened, Any]]) -> None:
        """A part of the model that earlier backwards did not reach is changed with the rest: it is no second hand."""
        for opened, _ in list(made):
            elder = next(
                (
                    other.hand
                    for other, _ in made
                    if other.last == opened.last and other.hand.steps and other.backwards == other.hand.micro_steps
                ),
                None,
            )
            if elder is not None and not opened.hand.steps and not opened.hand.beside:
                self._drop(opened.hand)
                elder.extend(opened.hand.parameters())

    def _let_go(self, opened: Opened) -> None:
        """The parameters are gone, and with them what the last backward led to: the same as those before, it is."""
        hand = opened.hand
        del self.opened[hand]
        if hand.steps and opened.backwards == hand.micro_steps and not hand.trial:
            opened.record_step(self.recording, time.perf_counter())
        self.hands.remove(hand)

    def _drop(self, hand: Hand) -> None:
        self.hands.remove(hand)
        opened = self.opened.pop(hand, None)
        if opened is not None:
            opened.drop()
        if not hand.steps:
            forget(self.recording.table, hand, None)
