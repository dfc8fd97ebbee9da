"""How many passwords may be tried before a meter locks itself, and how many have been. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from terminals.diagnose.diagnosis import Words

#: Wrong passwords after which a meter must be taken to lock. DL/T 645 and most DLMS meters do at the third to fifth, and how long for is
#: each maker's own; no public source gives one rule, so this is the most cautious of what is met, and may be set.
LIMIT: Final = 3


@dataclass(slots=True)
class Lockout:
    """The passwords tried on one meter in one run. What others tried before us we cannot know: one is always left to them.

    `tried` counts wrong ones by protocol: a meter that speaks two has a counter for each.
    """

    limit: int = LIMIT
    tried: dict[str, int] = field(default_factory=dict)

    def may_try(self, protocol: str) -> bool:
        """Whether one more wrong one would still leave one before the lock."""
        return self.left(protocol) > 1

    def wrong(self, protocol: str) -> None:
        """The meter said no."""
        self.tried[protocol] = self.tried.get(protocol, 0) + 1

    def left(self, protocol: str) -> int:
        """Wrong ones until the meter locks, if nobody else has tried."""
        return self.limit - self.tried.get(protocol, 0)

    def words(self, protocol: str) -> Words:
        """For the person at the meter, who must not go on trying by hand."""
        tried, left = self.tried.get(protocol, 0), self.left(protocol)
        times = "password" if tried == 1 else "passwords"
        return Words(
            f"{tried} wrong {times} tried in this run; taken to lock at {self.limit}, so {left} left before the lock",
            f"本次已试错密码 {tried} 次；按连续 {self.limit} 次错误闭锁计，距闭锁还剩 {left} 次",
        )
