"""One volume on its way to its targets: what it has, the next step, and the best state so far.

Shapes: `K` phases, `D H W` voxels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.guidance.moves import Evaluation, Move
from engine.guidance.newton import brought, one_hot, share, solved
from engine.guidance.terms import MARGIN, Term, one_sided
from engine.outcomes import DesignOutcome

CORRECTIONS = 3  # Gauss-Newton steps after each redraw
KEEPING_CORRECTIONS = 5  # the same where a surface is kept: each redraw takes back some of it
CURVE_CORRECTIONS = 6  # the same where a curve is asked for: each redraw takes back a little of every lag
LARGEST_MOVE = 0.02  # share of the volume that one step may change: first order does not reach further
ASCENT = 0.005  # share of the volume that one step towards an extreme changes
PROGRESS = 0.005  # relative gain below which an extreme counts as reached
PATIENCE = 9  # iterations without progress, three for each axis, after which it does
YIELDING = 6  # iterations for which a volume with all its targets still looks for what is kept of the material


@dataclass
class Member:
    """State of one volume."""

    logits: Tensor  # [K, D, H, W]
    terms: list[Term]
    trace: list[dict[str, float]] = field(default_factory=list)
    best: Tensor = field(init=False)
    best_rank: tuple[int, float] = (3, math.inf)  # the less, the better; see `_rank`
    improved: int = 0  # the last iteration that made progress towards the extreme
    held: int | None = None  # the first iteration in which all that was asked for held

    def __post_init__(self) -> None:
        self.best = self.logits

    @property
    def extreme(self) -> int | None:
        """Which term is one."""
        return next((i for i, term in enumerate(self.terms) if term.target.extreme), None)

    @property
    def reached(self) -> DesignOutcome:
        """By the best state."""
        return DesignOutcome.ATTAINED if self.best_rank[0] <= 1 else DesignOutcome.MISSED

    def look(self, iteration: int) -> list[Evaluation]:
        """Every term's metric on the hard volume, written into the trace."""
        soft = self.logits.softmax(dim=0)
        hard = one_hot(self.logits.argmax(dim=0), len(soft))
        found = [term.steering(hard, soft, term.miss) for term in self.terms]
        named = zip(self.terms, found, strict=True)
        values = {str(term.target.metric): each.value for term, each in named if math.isfinite(each.value)}
        self.trace.append({"iteration": float(iteration)} | values)
        return found

    def worst(self, values: Sequence[float], *, kept: bool) -> float:
        """The largest distance in tolerances, of what was asked for or of what is kept; 0 where there is none."""
        misses = [term.miss(value) for term, value in zip(self.terms, values, strict=True) if term.kept == kept]
        return max(misses, default=0.0)

    def correct(self, iteration: int, *, settled: bool, late: bool) -> DesignOutcome | None:
        """Gauss-Newton steps until every term holds, a few at most. None where the next redraw is to follow.

        Args:
            iteration: redraws before this one.
            settled: redrawn along every axis; only then a state is remembered as the best.
            late: everything should hold by now; where it does not, nothing more is kept of the material.
        """
        if self.best_rank[0] > 0 and (late or self._waited(iteration)):
            self.terms = [term for term in self.terms if not term.kept]
        before: list[float] = []
        corrections = self._corrections()
        for step in range(corrections + 1):
            found = self.look(iteration)
            values = [each.value for each in found]
            asked, kept = (self.worst(values, kept=kept) <= MARGIN for kept in (False, True))
            if settled:
                self._remember(values, iteration)
            if asked and kept and self.extreme is None:
                return DesignOutcome.ATTAINED if settled else None
            for i, term in enumerate(self.terms):
                if before:
                    term.learn_gain(before[i], values[i])
                if term.foretold is not None:
                    term.drift += 0.5 * (values[i] - term.foretold)
                term.foretold = None
            before = values
            if step < corrections:
                change = self._ascent(found) if asked and kept else self.step(found)
                if not bool(change.isfinite().all()):
                    return self.reached
                self.logits = self.logits + change
        return self.reached if self._enough(iteration) else None

    def _corrections(self) -> int:
        if any(term.is_curve for term in self.terms):
            return CURVE_CORRECTIONS
        return KEEPING_CORRECTIONS if any(term.kept for term in self.terms) else CORRECTIONS

    def _enough(self, iteration: int) -> bool:
        """Whether to stop with the best state though not everything holds, or could go on."""
        if self.extreme is not None:
            return self.best_rank[0] == 0 and iteration - self.improved >= PATIENCE
        return self._waited(iteration)

    def _waited(self, iteration: int) -> bool:
        """Whether what was asked for has held for long enough."""
        return self.held is not None and iteration - self.held >= YIELDING

    def _remember(self, values: Sequence[float], iteration: int) -> None:
        """Keep the state if it is the best so far."""
        rank = self._rank(values)
        if rank[0] <= 1 and self.held is None:
            self.held = iteration
        if rank > self.best_rank:
            return
        now, before = rank[1], self.best_rank[1]
        if self.best_rank[0] != rank[0] or now < before - PROGRESS * abs(before):
            self.improved = iteration
        self.best, self.best_rank = self.logits.clone(), rank

    def _rank(self, values: Sequence[float]) -> tuple[int, float]:
        """Where everything holds (0), how far the extreme still is, if there is one; where only what was asked for does
        (1), how far what is kept is off; else (2) the largest miss."""
        asked, kept = (self.worst(values, kept=kept) for kept in (False, True))
        if asked > MARGIN:
            return 2, asked
        if kept > MARGIN:
            return 1, kept
        if self.extreme is None:
            return 0, max(asked, kept)
        sign = 1 if self.terms[self.extreme].target.extreme == "minimize" else -1
        return 0, sign * values[self.extreme]

    def step(self, found: Sequence[Evaluation]) -> Tensor:
        """Smallest change of the logits [K, D, H, W] that meets all terms to first order, within the trust region.

        A target with one limit that holds takes part only where the others would break it.
        """
        free = [
            i
            for i, (term, each) in enumerate(zip(self.terms, found, strict=True))
            if i == self.extreme or (one_sided(term.target) and term.miss(each.value) == 0)
        ]
        wanted = [
            (term, each.value, move)
            for i, (term, each) in enumerate(zip(self.terms, found, strict=True))
            if i not in free
            for move in each.moves
        ]
        moves = [term.scaled(value, move) for term, value, move in wanted]
        missing = [
            term.missing(value) if move.missing is None else term.gain * move.missing for term, value, move in wanted
        ]
        p = self.logits.softmax(dim=0)
        change = self._within_limits(found, p, solved(p, moves, missing), free, moves)
        return change * min(1.0, LARGEST_MOVE / max(share(p, change), 1e-12))

    def _ascent(self, found: Sequence[Evaluation]) -> Tensor:
        """Change of the logits towards the extreme: its own direction, less what would break other terms (projected on
        what they leave: Rosen, J. SIAM 8, 181, 1960)."""
        assert self.extreme is not None
        p = self.logits.softmax(dim=0)
        [goal] = found[self.extreme].moves
        sign = 1.0 if self.terms[self.extreme].target.extreme == "maximize" else -1.0
        change = sign * goal.direction
        change = change * (ASCENT / max(share(p, change), 1e-12))
        change = self._within_limits(found, p, change, range(len(found)), drifting=True)
        if brought(p, goal, change) * sign <= 0:
            for term in self.terms:
                term.drift /= 2
            return torch.zeros_like(change)  # the limits leave no way, or seem to
        change = change * (ASCENT / max(share(p, change), 1e-12))
        for i, (term, each) in enumerate(zip(self.terms, found, strict=True)):
            if i != self.extreme and not term.is_curve and each.moves:
                [move] = each.moves
                term.foretold = each.value + term.drift + brought(p, move, change)
        return change

    def _within_limits(
        self,
        found: Sequence[Evaluation],
        p: Tensor,
        change: Tensor,
        which: Sequence[int],
        kept: Sequence[Move] = (),
        drifting: bool = False,
    ) -> Tensor:
        """A change that takes no term of `which` beyond its limits, to first order, and brings the numbers in `kept`
        what the given change does. Terms that it would not take there anyway have no say."""
        moves, missing = list(kept), [0.0] * len(kept)
        for i in which:
            if i == self.extreme:
                continue
            term, value = self.terms[i], found[i].value
            for move in found[i].moves:
                more = brought(p, move, change) + (term.drift if drifting else 0.0)
                if move.missing is not None:  # of a curve: as it is
                    moves.append(move)
                    missing.append(-more)
                elif term.miss(value + more) > MARGIN:
                    moves.append(move)
                    missing.append(term.room(value, more) - more)
        return change if len(moves) == len(kept) else change + solved(p, moves, missing)
