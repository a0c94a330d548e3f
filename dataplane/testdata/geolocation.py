"""Writes the geolocation databases of the tests: `pip install mmdb_writer netaddr`, then run it in this folder."""

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def write(name, kind, records):
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type=kind, float_type="f64", int_type="u32")
    for networks, record in records:
        writer.insert_network(IPSet(networks), record)
    writer.to_db_file(name)


def city(code, latitude, longitude):
    return {"country": {"iso_code": code, "geoname_id": 1}, "location": {"latitude": latitude, "longitude": longitude}, "subdivisions": [{"iso_code": "X"}]}


write("city.mmdb", "GeoLite2-City", [
    (["81.2.69.0/24"], city("GB", 51.5, -0.1)),
    (["89.160.20.0/24"], city("SE", 58.4, 15.6)),
    (["2a02:cf40::/29"], city("NO", 59.9, 10.7)),
    # What a record should not be.
    (["175.16.199.0/24"], city("LONG", 400.0, 10.7)),
    (["175.16.200.0/24"], {"country": "CN", "location": {"latitude": "north"}}),
])
write("asn.mmdb", "GeoLite2-ASN", [
    (["81.2.69.0/24"], {"autonomous_system_number": 20712, "autonomous_system_organization": "Andrews & Arnold"}),
    (["89.160.20.0/24"], {"autonomous_system_number": 29518, "autonomous_system_organization": "Bredband2"}),
])
