"""`kat serve nano` where there is no vLLM: llama.cpp's server, killed in the middle of a reply, and stopped."""

import pytest

from tests.e2e.kills import check_kills, check_stop, server_of
from tests.e2e.served import served_by


@pytest.mark.embedded
async def test_a_reply_goes_on_when_the_server_is_killed_in_the_middle_of_it(forks, tmp_path):
    with served_by(forks, "llama") as served:
        await check_kills(served, tmp_path, [server_of])
        check_stop(served)
