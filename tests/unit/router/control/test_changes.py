"""The configuration in effect against its file, as operators are shown it: without secrets."""

import pytest

from monitor.common.settings import read
from router.control.changes import compared
from router.control.sections import Config

SECRETS = {
    "admin": {"metrics_token": "canary-token"},
    "store": {"url": "postgresql://me:canary-password@db.example.com/x"},
    "monitor": {"vantages": [{"name": "there", "proxy": "http://me:canary-proxy@10.0.0.1:3128"}]},
    "notify": [{"url": "https://hooks.example.com/canary-hook"}],
    "mirrors": [
        {
            "id": "hk",
            "url": "https://hk.example.com",
            "api_key": "canary-key",
            "client_keys": ["canary-half-*"],
        }
    ],
}


def config(**more: object) -> Config:
    mirrors = [{"id": "hk", "url": "https://hk.example.com"}]
    return read(Config, {"mirrors": mirrors, **more})


def test_differences_are_named_by_their_path_with_both_values():
    found = compared(config(), config(limits={"connections": 20}), ())
    differing = {each.path: each for each in found if each.differs}
    assert list(differing) == ["limits.connections"]
    assert differing["limits.connections"][1:3] == ("10", "20")


def test_a_mirror_more_does_not_make_the_others_differ():
    mirrors = [{"id": i, "url": f"https://{i}.example.com"} for i in ("jp", "hk")]
    found = compared(config(), config(mirrors=mirrors), ())
    differing = [each.path for each in found if each.differs]
    assert {path.split(".")[1] for path in differing} == {"jp"}
    (url,) = [each for each in found if each.path == "mirrors.jp.url"]
    assert (url.running, url.file) == (None, '"https://jp.example.com"')


def test_settings_that_need_a_restart_are_marked():
    found = compared(config(), config(router={"listen": "127.0.0.1:9999"}), ())
    (listen,) = [each for each in found if each.differs]
    assert (listen.path, listen.restart) == ("router.listen", True)


def test_a_file_that_cannot_be_used_differs_in_nothing():
    assert not any(each.differs for each in compared(config(), None, ()))


@pytest.mark.parametrize("running", [True, False])
def test_no_secret_is_told_on_either_side(running):
    plain, secret = config(), config(**SECRETS)
    found = compared(secret, plain, ()) if running else compared(plain, secret, ())
    assert "canary" not in repr(found)
    assert {each.path for each in found if each.differs} >= {
        "admin.metrics_token",
        "store.url",
        "mirrors.hk.api_key",
        "mirrors.hk.client_keys",
    }


def test_values_kept_elsewhere_are_hidden():
    found = compared(config(), config(dashboard={"contact": "canary"}), {"dashboard.contact"})
    (contact,) = [each for each in found if each.differs]
    assert (contact.path, contact.file) == ("dashboard.contact", "(hidden)")
