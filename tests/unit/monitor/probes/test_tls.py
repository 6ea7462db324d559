"""TLS records as probes read them."""

from monitor.probes.tls import alert_in


def test_an_alert_is_read_from_its_record():
    assert alert_in(bytes.fromhex("15030300020270")) == 112
    assert alert_in(bytes.fromhex("16030300020270")) is None
    assert alert_in(b"\x15") is None
