import io
import logging

from mtl_cli.reporting.log import spoken


def test_what_the_rooms_log_is_said_a_line_each_and_only_within():
    stream = io.StringIO()
    room = logging.getLogger("mtl_cli.data.cache")
    room.disabled = True  # as Hydra leaves it for the second job of a sweep
    with spoken(stream):
        room.info("decoding %s", "cifar10")
    room.info("not this")
    assert stream.getvalue() == "decoding cifar10\n"
