"""The server's settings: each can be set, and what the chart writes is what the server reads."""

import base64
import json
import os
import pathlib
import re
import subprocess

import yaml

import chart

# What the chart sets itself, from other values or for good.
OF_THE_CHART = {
    "listen", "ops_listen", "insecure", "store", "data_dir", "policy", "key_hash_secret_file", "encryption_key_file",
    "scylla.nodes", "scylla.datacenter", "scylla.keyspace", "scylla.user_file", "scylla.password_file",
    "scylla.tls_ca_file", "scylla.tls_certificate_file", "scylla.tls_key_file",
    "tls.certificate_file", "tls.key_file", "tls.client_ca_file", "tls.client_certificates",
    "auth.credentials_file", "auth.trust_domain", "auth.jwks_file", "auth.jwt_algorithms", "auth.jwt_issuer",
    "auth.jwt_audience", "limits.drain_time",
}
# Secrets stand in files, and the audit log in the log, which Kubernetes keeps.
LEFT_OUT = {"key_hash_secret", "scylla.user", "scylla.password", "audit_log"}


def of_the_server() -> set[str]:
    """Every setting, as the example file names it."""
    names, table = set(), ""
    for line in (chart.ROOT / "semel.example.toml").read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"\[(\w+)\]", line):
            table = f"{found[1]}."
        elif found := re.match(r"#?(\w+) = ", line):
            names.add(table + found[1])
    return names


def of_config() -> set[str]:
    schema = json.loads((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))
    names = set()
    for name, of in schema["properties"]["config"]["properties"].items():
        names |= {f"{name}.{field}" for field in of["properties"]} if "properties" in of else {name}
    return names


def every_one() -> int:
    """Each setting of the server has one place; gives how many there are."""
    wanted, config = of_the_server(), of_config()
    places = [*config, *OF_THE_CHART, *LEFT_OUT]
    if len(places) != len(set(places)):
        raise SystemExit(f"settings with two places: {sorted({name for name in places if places.count(name) > 1})}")
    if set(places) != wanted:
        raise SystemExit(f"no place in the chart: {sorted(wanted - set(places))}; none of the server's: "
                         f"{sorted(set(places) - wanted)}")
    policy = json.loads((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]["policy"]
    fields = set(policy["properties"]["defaults"]["properties"])
    source = (chart.ROOT / "src/config/policy_file.rs").read_text(encoding="utf-8")
    known = set(re.findall(r'"(\w+)"', re.search(r"const FIELDS: .*?= \[(.*?)\];", source, re.DOTALL)[1]))
    if fields != known:
        raise SystemExit(f"the fields of a policy differ from the server's: {sorted(fields ^ known)}")
    return len(wanted)


def taken_by_the_server(semel: pathlib.Path, scratch: pathlib.Path) -> int:
    """The real server's own check of what is rendered in every mode; gives how many files it read."""
    files = 0
    for values in chart.MODES:
        directory = scratch / f"files-of-{values.stem}"
        made = secrets(semel, directory)
        for document in yaml.safe_load_all(chart.rendered("--values", values)):
            if document and document["kind"] in ("ConfigMap", "Secret"):
                for name, text in {**document.get("data", {}), **document.get("stringData", {})}.items():
                    folder = {"semel.toml": "settings", "policy.toml": "policy",
                              "credentials.toml": "credentials"}.get(name)
                    if folder:
                        made[f"{folder}/{name}"] = text
        for name, text in made.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("/etc/semel/", f"{directory}/"), encoding="utf-8")
            path.chmod(0o640)
        done = subprocess.run([semel, "config", "check", "--config", directory / "settings/semel.toml"],
                              capture_output=True, text=True, timeout=60,
                              env={name: value for name, value in os.environ.items() if not name.startswith("SEMEL_")})
        if done.returncode or "names no setting" in done.stderr:
            raise SystemExit(f"the server does not take the files of {values.name}:\n{done.stdout}{done.stderr}")
        files += sum((directory / name).exists() for name in made)
    return files


def secrets(semel: pathlib.Path, directory: pathlib.Path) -> dict[str, str]:
    """What a user would have put into Secrets and ConfigMaps of their own."""
    directory.mkdir()
    certificate, key = directory / "made.crt", directory / "made.key"
    chart.must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-subj", "/CN=semel", "-addext", "subjectAltName=DNS:semel", "-days", "30", "-keyout", key, "-out", certificate)
    public = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout", "-outform", "DER"], input=public, check=True,
                            capture_output=True).stdout[-32:]
    x = base64.urlsafe_b64encode(public).decode().rstrip("=")
    encryption = chart.must(semel, "encryption-key", "create", "--id", "2026-11")
    pem, secret = certificate.read_text(encoding="utf-8"), key.read_text(encoding="utf-8")
    return {
        "tls/tls.crt": pem, "tls/tls.key": secret, "client-ca/ca.crt": pem,
        "database-tls/ca.crt": pem, "database-tls/tls.crt": pem, "database-tls/tls.key": secret,
        "database/user": "semel", "database/password": "a password",
        "key-hash/secret": "at least sixteen bytes of it",
        "encryption/encryption.toml": f'current = "2026-11"\n[keys]\n{encryption}',
        "jwks/jwks.json": json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "use": "sig", "x": x}]}),
        "policy/policy.toml": "[defaults]\nlease = \"30s\"\n",
        "credentials/credentials.toml": '[[token]]\nname = "a"\nsha256 = "' + 64 * "a"
                                        + '"\ntenants = ["acme"]\nroles = ["client"]\n',
    }
