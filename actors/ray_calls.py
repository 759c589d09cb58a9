"""What the driver remembers of requests and running remote calls."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from actors.ledger import Job

if TYPE_CHECKING:
    from actors.ray_crew import Crew, Member

Step = Literal["start", "design", "certify", "store"]


@dataclass(eq=False, kw_only=True)
class RayJob(Job):
    """A request with the objects that its next step needs."""

    designed: Any = None
    certified: Any = None
    failed_on: str | None = None
    """Name of the member that failed it last: another one may do better."""


@dataclass(eq=False, kw_only=True)
class Call:
    """A remote call that was made and has not answered."""

    step: Step
    crew: "Crew"
    member: "Member"
    actor: Any
    """The member's actor when the call was made."""
    jobs: list[RayJob]
    outputs: list[Any]
    """References of what the call returns after its report."""
    started: float | None
    """When it began, in seconds of the monotonic clock; None while it waits behind another call of its actor."""
