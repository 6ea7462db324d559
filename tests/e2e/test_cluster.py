"""Several instances hold limits, bans and keys together, and one of them leads."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.testkit.cluster import LIMIT, NAMES, Cluster, Stream, models, race, running_cluster
from tests.testkit.postgresql import PostgresqlServer
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster(
    postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with running_cluster(postgresql.upgraded(), tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_a_client_has_its_limit_over_all_instances_and_all_of_it_on_one(cluster: Cluster):
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(each)) for each in race(cluster.instances, "192.0.2.1", 6)
        ]
        counted = Counter(stream.status for stream in streams)
        assert counted[200] <= LIMIT + len(NAMES) - 1
        assert set(counted) == {200, 429}

        def whole() -> bool:
            """A share that came too late for the race is there for the next."""
            if counted[200] < LIMIT:
                late = stack.enter_context(closing(Stream(cluster.instances[0], "192.0.2.1")))
                counted[late.status] += 1
            return counted[200] >= LIMIT

        wait_until(whole, 20, "the whole limit to be given")
        assert counted[200] <= LIMIT + len(NAMES) - 1

    first, client = cluster.instances[0], "192.0.2.2"
    with ExitStack() as stack:

        def opened() -> bool:
            """One more is open; the share of this instance may have to grow first."""
            stream = stack.enter_context(closing(Stream(first, client)))
            return stream.status == 200

        for _ in range(LIMIT):
            wait_until(opened, 20, "one instance to give all that there is")
        assert [models(each, client) for each in cluster.instances] == [429] * len(NAMES)


def test_a_ban_and_a_revocation_are_everywhere_at_once(cluster: Cluster):
    first, *others = cluster.instances
    client = "192.0.2.9"
    assert [models(each, client) for each in cluster.instances] == [200] * 3
    first.command("bans", "add", client, check=True)
    wait_until(lambda: [models(o, client) for o in others] == [403] * 2, 10, "the ban")
    others[0].command("bans", "remove", client, check=True)
    wait_until(lambda: models(first, client) == 200, 10, "the ban to be lifted")
    made = json.loads(first.command("keys", "create", "--name", "x", "--json", check=True).stdout)
    wait_until(lambda: [models(o, client, made["key"]) for o in others] == [200] * 2, 10, "the key")
    others[1].command("keys", "revoke", made["id"], check=True)
    wait_until(lambda: models(first, client, made["key"]) == 401, 10, "the revocation")


def test_one_of_them_leads(cluster: Cluster):
    assert wait_until(cluster.leader, 40, "one leader") in cluster.instances
