"""The Kubernetes manifests: each is what its schema allows, and together they run the image as it is meant."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from infobip_exporter import __version__
from infobip_exporter.arguments import parser
from infobip_exporter.config.load import load_config
from tests.docs.pages import DOCS, REPOSITORY, blocks
from tests.packaging.manifests import built, check, needs

FOLDER = REPOSITORY / "packaging" / "kubernetes"
BASE, OPERATOR, REPLICAS = FOLDER / "base", FOLDER / "prometheus-operator", FOLDER / "replicas"
MANIFESTS = sorted(
    path for path in FOLDER.rglob("*.yaml") if path.name not in {"kustomization.yaml", "config.yaml"}
)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def stateful_set() -> Any:
    return read(BASE / "stateful-set.yaml")["spec"]


def pod() -> Any:
    return stateful_set()["template"]["spec"]


def container() -> Any:
    [only] = pod()["containers"]
    return only


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_each_manifest_is_what_its_schema_allows(path: Path) -> None:
    check(read(path))


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("base/stateful-set", "readOnlyRootFilesystem", "readOnlyRootFileSystem"),
        ("base/stateful-set", "replicas: 1", "replicas: one"),
        (
            "base/stateful-set",
            "          image: infobip-exporter\n          args",
            "          args: []\n          arg",
        ),
        ("base/service", "targetPort", "targetport"),
        ("base/network-policy", "policyTypes: [Ingress, Egress]", "policyTypes: Ingress"),
        ("prometheus-operator/service-monitor", "interval", "intervall"),
        ("prometheus-operator/service-monitor", "interval: 15s", "interval: 15 seconds"),
        ("prometheus-operator/prometheus-rule", "expr: |", "expression: |"),
    ],
)
def test_a_mistake_in_one_would_be_found(name: str, right: str, wrong: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert right in text
    with pytest.raises((ValidationError, AssertionError)):
        check(yaml.safe_load(text.replace(right, wrong, 1)))


def test_kustomize_is_told_of_each_manifest() -> None:
    for folder in (BASE, OPERATOR, REPLICAS):
        listed = read(folder / "kustomization.yaml")["resources"]
        assert sorted(listed) == [path.name for path in MANIFESTS if path.parent == folder]


def kustomized(folder: Path) -> dict[str, Any]:
    """What kustomize makes of a folder, by kind."""
    result = built("kustomize", "build", folder)
    assert (result.returncode, result.stderr) == (0, "")
    manifests = list(yaml.safe_load_all(result.stdout))
    by_kind = {each["kind"]: each for each in manifests}
    assert len(by_kind) == len(manifests)
    return by_kind


def overlay_of(page: str, folder: Path) -> dict[str, Any]:
    """What the overlay of a page of the docs makes as it stands, by kind; each manifest is what its schema allows."""
    [code] = [code for code in blocks(DOCS / page, "yaml") if "kind: Kustomization" in code]
    shutil.copytree(FOLDER, folder / "packaging" / "kubernetes")
    overlay = folder / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(code)
    (overlay / "config.yaml").write_text("accounts: mine\n")
    made = kustomized(overlay)
    for manifest in made.values():
        check(manifest)
    return made


@needs("kustomize")
def test_what_kustomize_makes_of_the_base_is_what_the_schemas_allow() -> None:
    made = kustomized(BASE)
    assert made.keys() == {"ConfigMap", "NetworkPolicy", "Service", "StatefulSet"}
    for manifest in made.values():
        check(manifest)
    volumes = made["StatefulSet"]["spec"]["template"]["spec"]["volumes"]
    [mounted] = [each["configMap"]["name"] for each in volumes if "configMap" in each]
    assert mounted == made["ConfigMap"]["metadata"]["name"]
    # A changed configuration has another name, so the pod starts again.
    assert mounted != "infobip-exporter"
    assert made["ConfigMap"]["data"] == {"config.yaml": (BASE / "config.yaml").read_text()}


@needs("kustomize")
def test_the_overlay_in_the_docs_works_as_it_stands(tmp_path: Path) -> None:
    made = overlay_of("operate.md", tmp_path)
    always = {"ConfigMap", "NetworkPolicy", "Service", "StatefulSet"}
    assert made.keys() == always | {"PrometheusRule", "ServiceMonitor"}
    assert {manifest["metadata"]["namespace"] for manifest in made.values()} == {"infobip"}
    assert made["ConfigMap"]["data"] == {"config.yaml": "accounts: mine\n"}
    [only] = made["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert only["image"] == f"registry.example.com/infobip-exporter:{__version__}"
    found = made["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
    assert found <= made["Service"]["metadata"]["labels"].items()


@needs("kustomize")
def test_the_overlay_for_replicas_has_two_pods_without_a_volume(tmp_path: Path) -> None:
    made = overlay_of("high-availability.md", tmp_path)
    assert "PodDisruptionBudget" in made
    spec = made["StatefulSet"]["spec"]
    assert spec["replicas"] == 2
    assert "volumeClaimTemplates" not in spec
    pod = spec["template"]["spec"]
    [only] = pod["containers"]
    assert [mount["name"] for mount in only["volumeMounts"]] == ["config", "key"]
    assert [each["name"] for each in only["env"]] == ["PGPASSWORD"]
    assert "podAntiAffinity" in pod["affinity"]
    assert {"ports": [{"port": 5432}]} in made["NetworkPolicy"]["spec"]["egress"]


def test_the_pod_is_one_that_the_restricted_standard_admits() -> None:
    # Kubernetes' "Pod Security Standards", restricted, as far as it speaks of what is here.
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod().keys()
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(volume.keys() <= {"name", "configMap", "secret"} for volume in pod()["volumes"])
    assert all("hostPort" not in port for port in container()["ports"])


def test_the_user_is_the_image_s_own_and_no_token_is_given_to_it() -> None:
    [user] = re.findall(r"^USER (\d+):\d+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    context = pod()["securityContext"]
    assert {context["runAsUser"], context["runAsGroup"], context["fsGroup"]} == {int(user)}
    assert pod()["automountServiceAccountToken"] is False


def test_the_stateful_set_has_a_headless_service() -> None:
    service = read(BASE / "service.yaml")
    assert service["metadata"]["name"] == stateful_set()["serviceName"]
    assert service["spec"]["clusterIP"] == "None"
    # Behind it a client comes to the pod itself, so the ports are the same.
    [served], [port] = service["spec"]["ports"], container()["ports"]
    assert served["port"] == port["containerPort"]


def test_the_pod_asks_for_what_it_uses() -> None:
    assert container()["resources"]["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}


def test_one_exporter_has_one_state_and_keeps_it() -> None:
    assert stateful_set()["replicas"] == 1
    assert set(stateful_set()["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    [claim] = stateful_set()["volumeClaimTemplates"]
    mounts = {mount["name"]: mount for mount in container()["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]]["mountPath"] == "/var/lib/infobip-exporter"
    assert [name for name, mount in mounts.items() if not mount.get("readOnly")] == ["state"]


def test_the_configuration_is_sound_and_names_what_is_mounted() -> None:
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container()["volumeMounts"]}
    config = load_config(BASE / "config.yaml", {})
    [account] = config.accounts
    assert account.api_key_file == mounts["key"] / "api_key"
    assert config.state.url == f"sqlite:///{mounts['state']}/state.db"
    arguments = vars(parser().parse_args(container()["args"]))
    assert arguments["config.file"] == str(mounts["config"] / "config.yaml")
    [generated] = read(BASE / "kustomization.yaml")["configMapGenerator"]
    assert generated == {"name": pod()["volumes"][0]["configMap"]["name"], "files": ["config.yaml"]}


def test_the_port_is_the_one_that_is_listened_on_and_everybody_calls_it_the_same() -> None:
    [port] = container()["ports"]
    [address] = load_config(BASE / "config.yaml", {}).web.listen_address
    assert address.endswith(f":{port['containerPort']}")
    probes = [probe for name, probe in container().items() if name.endswith("Probe")]
    assert {probe["httpGet"]["port"] for probe in probes} == {port["name"]}
    assert {probe["httpGet"]["path"] for probe in probes} == {"/-/healthy", "/-/ready"}
    [served] = read(BASE / "service.yaml")["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    [scraped] = read(OPERATOR / "service-monitor.yaml")["spec"]["endpoints"]
    assert scraped["port"] == served["name"]


def test_every_selector_finds_the_pod_or_the_service() -> None:
    labels = stateful_set()["template"]["metadata"]["labels"]
    [common] = read(BASE / "kustomization.yaml")["labels"]
    assert common["pairs"] == labels
    assert stateful_set()["selector"]["matchLabels"] == labels
    assert read(BASE / "service.yaml")["spec"]["selector"] == labels
    assert read(BASE / "network-policy.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    # It looks for the Service, which has the common labels.
    assert read(OPERATOR / "service-monitor.yaml")["spec"]["selector"]["matchLabels"] == labels


def test_the_network_lets_scrapes_in_and_names_and_the_api_out() -> None:
    policy = read(BASE / "network-policy.yaml")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    [scrapes] = policy["ingress"]
    assert scrapes["ports"] == [{"port": "metrics"}]
    out = {(port["port"], port.get("protocol", "TCP")) for rule in policy["egress"] for port in rule["ports"]}
    assert out == {(53, "UDP"), (53, "TCP"), (443, "TCP")}


def test_a_feeds_series_have_a_constant_instance_and_no_pod() -> None:
    [scraped] = read(OPERATOR / "service-monitor.yaml")["spec"]["endpoints"]
    instance, pod = scraped["metricRelabelings"]
    assert (instance["targetLabel"], instance["sourceLabels"][0]) == ("instance", "account")
    assert (pod["targetLabel"], pod["sourceLabels"], pod["replacement"]) == ("pod", ["account"], "")
    assert scraped["interval"] == "15s"
