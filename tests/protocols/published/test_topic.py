"""Topics: what the template says, and who is meant."""

from __future__ import annotations

import pytest

from protocols.errors import FrameError, Misuse
from protocols.published.topic import Template, Topic


def test_the_usual_topics() -> None:
    template = Template()
    assert template.filter == "hes/v1/+/+/+/+"
    assert template.match("hes/v1/杭州/T1/000000000001/data") == Topic("杭州", "T1", "000000000001", "data")


def test_a_template_of_ones_own() -> None:
    template = Template("{terminal}/up/{meter}/{kind}")
    assert template.filter == "+/up/+/+"
    assert template.match("T1/up/7/status") == Topic("", "T1", "7", "status")


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("hes/v1/o/T1/7", "5 levels, 6"),
        ("hes/v2/o/T1/7/data", "'v2' where 'v1'"),
        ("hes/v1/o/T1/7/date", "'date' is not one of data, event, status"),
        ("hes/v1/o//7/data", "have names"),
        ("hes/v1/o/T1/\n/data", "cannot be printed"),
        ("hes/v1/o/T1/" + "7" * 600 + "/data", "too long"),
    ],
)
def test_a_topic_that_is_none(topic: str, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        Template().match(topic)


@pytest.mark.parametrize(
    "text",
    ["", "hes/{terminal}/{kind}", "{terminal}/{terminal}/{meter}/{kind}", "a/#/{terminal}/{meter}/{kind}",
     "/{terminal}/{meter}/{kind}", "{terminal}/{meter}/{kind}/{when}", "x{org}/{terminal}/{meter}/{kind}"],
)  # fmt: skip
def test_a_template_that_is_none(text: str) -> None:
    with pytest.raises(Misuse, match="topic:"):
        Template(text)
