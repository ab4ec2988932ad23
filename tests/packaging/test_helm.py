"""The Helm chart: Helm takes it, what it makes is what the schemas allow, and it is what the base for kustomize has."""

import copy
import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from infobip_exporter import __version__
from infobip_exporter.arguments import parser
from infobip_exporter.config.load import load_config
from tests.docs.pages import DOCS, REPOSITORY, blocks
from tests.packaging.manifests import built, check, needs

CHART = REPOSITORY / "packaging" / "helm" / "infobip-exporter"
BASE = REPOSITORY / "packaging" / "kubernetes"
LEAST, OPERATOR, EVERYTHING, REPLICAS = (
    CHART / "ci" / f"{name}-values.yaml" for name in ("least", "operator", "everything", "replicas")
)
pytestmark = needs("helm")


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return built("helm", *arguments)


def template(values: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return helm("template", "prod", CHART, "--namespace=infobip", f"--values={values}", *flags)


def manifests(values: Path, *flags: str) -> dict[str, Any]:
    """What the chart makes of `values`, by kind."""
    result = template(values, *flags)
    assert (result.returncode, result.stderr) == (0, "")
    made = [each for each in yaml.safe_load_all(result.stdout) if each]
    by_kind = {each["kind"]: each for each in made}
    assert len(by_kind) == len(made)
    return by_kind


rendered = cache(manifests)


def pod(values: Path) -> Any:
    return rendered(values)["StatefulSet"]["spec"]["template"]["spec"]


def container(values: Path) -> Any:
    [only] = pod(values)["containers"]
    return only


def probes(values: Path) -> dict[str, Any]:
    return {name: probe for name, probe in container(values).items() if name.endswith("Probe")}


def of_the_base(*path: str) -> Any:
    return yaml.safe_load(BASE.joinpath(*path).read_text())


def without_names(text: str) -> Any:
    """A manifest's spec as the base has it: under the base's name, found by its one label."""
    spec = json.loads(text.replace("prod-infobip-exporter", "infobip-exporter"))
    instance = "app.kubernetes.io/instance"

    def strip(node: Any) -> None:
        if isinstance(node, dict):
            node.pop(instance, None)
        for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            strip(each)

    strip(spec)
    return spec


@pytest.mark.parametrize("values", [LEAST, OPERATOR, EVERYTHING, REPLICAS], ids=lambda path: path.stem)
def test_helm_finds_nothing_wrong_with_it_and_what_it_makes_is_what_the_schemas_allow(values: Path) -> None:
    result = helm("lint", "--strict", "--quiet", f"--values={values}", CHART)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for manifest in rendered(values).values():
        check(manifest)
        assert manifest["metadata"]["namespace"] == "infobip"


def test_it_makes_what_the_base_for_kustomize_has_and_the_operator_s_where_it_is_asked_to() -> None:
    always = {"ConfigMap", "NetworkPolicy", "Service", "StatefulSet"}
    assert rendered(LEAST).keys() == always
    assert rendered(OPERATOR).keys() == always | {"PrometheusRule", "ServiceMonitor"}
    assert "NetworkPolicy" not in manifests(LEAST, "--set=networkPolicy.enabled=false")


@pytest.mark.parametrize("kind", ["network-policy", "service", "stateful-set"])
def test_with_the_least_of_values_it_is_the_base_for_kustomize(kind: str) -> None:
    base = of_the_base("base", f"{kind}.yaml")
    ours = without_names(json.dumps(rendered(LEAST)[base["kind"]]["spec"]))
    if kind == "stateful-set":
        only = ours["template"]["spec"]["containers"][0]
        assert only.pop("image") == f"registry.example.com/infobip-exporter:{__version__}"
        assert only.pop("imagePullPolicy") == "IfNotPresent"
        del base["spec"]["template"]["spec"]["containers"][0]["image"]
        assert list(ours["template"]["metadata"].pop("annotations")) == ["checksum/config"]
    assert ours == base["spec"]


def test_the_operator_s_resources_are_those_of_the_component() -> None:
    monitor = copy.deepcopy(rendered(OPERATOR)["ServiceMonitor"])
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint.pop("scheme") == "https"
    assert endpoint.pop("basicAuth")["password"] == {"name": "infobip-exporter-scrape", "key": "password"}
    assert endpoint.pop("tlsConfig")["serverName"] == "infobip-exporter.infobip.svc"
    assert endpoint.pop("interval") == "30s"
    base = of_the_base("prometheus-operator", "service-monitor.yaml")["spec"]
    assert base["endpoints"][0].pop("interval") == "15s"
    assert without_names(json.dumps(monitor["spec"])) == base
    # No curly bracket of Prometheus' was taken for one of Helm's; the links lead where the values say.
    rules = json.dumps(of_the_base("prometheus-operator", "prometheus-rule.yaml")["spec"])
    moved = rules.replace("http://localhost:3000", "https://grafana.example.com")
    assert moved != rules
    assert rendered(OPERATOR)["PrometheusRule"]["spec"] == json.loads(moved)
    for kind in ("PrometheusRule", "ServiceMonitor"):
        assert rendered(OPERATOR)[kind]["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize("values", [LEAST, OPERATOR, EVERYTHING], ids=lambda path: path.stem)
def test_the_pod_is_one_that_the_restricted_standard_admits(values: Path) -> None:
    base = of_the_base("base", "stateful-set.yaml")["spec"]["template"]["spec"]
    assert pod(values)["securityContext"] == base["securityContext"]
    assert container(values)["securityContext"] == base["containers"][0]["securityContext"]
    assert pod(values)["automountServiceAccountToken"] is False
    assert all(each.keys() <= {"name", "configMap", "secret"} for each in pod(values)["volumes"])
    mounts = container(values)["volumeMounts"]
    assert [mount["name"] for mount in mounts if not mount.get("readOnly")] == ["state"]
    assert {mount["name"] for mount in mounts} - {"state"} == {
        each["name"] for each in pod(values)["volumes"]
    }


@pytest.mark.parametrize("values", [LEAST, OPERATOR, EVERYTHING], ids=lambda path: path.stem)
def test_the_configuration_is_sound_and_the_command_finds_it(values: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(rendered(values)["ConfigMap"]["data"]["config.yaml"])
    config = load_config(file, {"BANK_KEY": "a-key"})
    mounts = {mount["name"]: mount["mountPath"] for mount in container(values)["volumeMounts"]}
    assert config.state.url == f"sqlite:///{mounts['state']}/state.db"
    [address] = config.web.listen_address
    assert address.endswith(f":{container(values)['ports'][0]['containerPort']}")
    keys = [account.api_key_file for account in config.accounts if account.api_key_file]
    assert keys
    assert {str(each.parent) for each in keys} == {mounts["key"]}
    arguments = vars(parser().parse_args(container(values)["args"]))
    assert arguments["config.file"] == f"{mounts['config']}/config.yaml"
    assert arguments.get("web.config.file") == (Path(mounts["web"]) / "web.yml" if "web" in mounts else None)


def test_replicas_on_postgresql_have_no_volume_and_keep_apart() -> None:
    made = rendered(REPLICAS)
    spec = made["StatefulSet"]["spec"]
    assert spec["replicas"] == 2
    assert "volumeClaimTemplates" not in spec
    assert all(mount["readOnly"] for mount in container(REPLICAS)["volumeMounts"])
    assert made["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    [term] = pod(REPLICAS)["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]


def test_probes_ask_for_what_they_are_let_in_to() -> None:
    assert {probe["httpGet"]["path"] for probe in probes(LEAST).values()} == {"/-/healthy", "/-/ready"}
    assert probes(OPERATOR).keys() == probes(LEAST).keys()
    for probe in probes(OPERATOR).values():
        assert probe["httpGet"] == {"path": "/-/healthy", "port": "metrics", "scheme": "HTTPS"}
    for probe in probes(EVERYTHING).values():
        assert probe["tcpSocket"] == {"port": "metrics"}


@pytest.mark.parametrize("user", [1000650000, None])
def test_the_user_is_another_one_or_the_platform_s(user: int | None) -> None:
    made = manifests(LEAST, f"--set=userId={user or 'null'}")["StatefulSet"]
    check(made)
    ids = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), user) if user else {}
    others = {name: value for name, value in pod(LEAST)["securityContext"].items() if value != 10470}
    assert made["spec"]["template"]["spec"]["securityContext"] == others | ids


def test_another_configuration_is_another_pod() -> None:
    def annotations(*flags: str) -> Any:
        return manifests(LEAST, *flags)["StatefulSet"]["spec"]["template"]["metadata"]["annotations"]

    assert annotations() != annotations("--set=config.poll.interval=1m")
    assert annotations() == annotations("--set=storage.size=3Gi")


def test_each_value_has_its_effect() -> None:
    spec = rendered(EVERYTHING)["StatefulSet"]["spec"]
    assert container(EVERYTHING)["image"] == "registry.example.com/infobip-exporter:0.1"
    assert (
        container(OPERATOR)["image"]
        == f"registry.example.com/infobip-exporter@sha256:{'0123456789abcdef' * 4}"
    )
    values = yaml.safe_load(EVERYTHING.read_text())
    for name in ("imagePullSecrets", "nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert pod(EVERYTHING)[name] == values[name]
    assert container(EVERYTHING)["env"] == values["env"]
    assert container(EVERYTHING)["imagePullPolicy"] == "Always"
    assert container(EVERYTHING)["resources"]["requests"] == values["resources"]["requests"]
    assert [each["secret"]["secretName"] for each in pod(EVERYTHING)["volumes"][1:]] == ["keys", "web"]
    [claim] = spec["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"] == {"requests": {"storage": "20Gi"}}
    labels = spec["template"]["metadata"]["labels"]
    assert labels == {
        "app.kubernetes.io/name": "messages",
        "app.kubernetes.io/instance": "prod",
        "team": "messaging",
    }
    assert spec["template"]["metadata"]["annotations"]["example.com/owner"] == "messaging"
    assert spec["selector"]["matchLabels"].items() < labels.items()
    policy = rendered(EVERYTHING)["NetworkPolicy"]["spec"]
    assert policy["ingress"][0]["from"] == values["networkPolicy"]["from"]
    assert policy["egress"][1]["ports"] == [{"port": 443}, {"port": 3128}]


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("config.accounts=null", "/config"),
        ("image.repository=", "/image/repository"),
        ("replicas=2", "/replicas"),
        ("config.web.listen_address=:9000", "/config/web"),
        ("config.state.url=sqlite:////tmp/state.db", "/config/state/url"),
        ("config.accounts[0].api_key_file=/etc/key", "/config/accounts/0/api_key_file"),
        (
            "config.accounts[0].oauth2.client_secret_file=/etc/key",
            "/config/accounts/0/oauth2/client_secret_file",
        ),
        ("config.accounts[0].tls_config.ca_file=/etc/ca.pem", "/config/accounts/0/tls_config/ca_file"),
        ("config.accounts[0].api_key=abc", "/config/accounts/0"),  # one way to authenticate is enough
        ("serviceMonitor.interval=5m", "/serviceMonitor/interval"),
        ("web.tls=true", "/web/secret"),
        ("web.clientCertificates=true", "/web/tls"),
        ("image.digest=latest", "/image/digest"),
        ("networkPolicy.from=null", "/networkPolicy"),  # else everybody were let in
        ("storage.size=null", "/storage"),
    ],
)
def test_a_value_that_can_not_work_is_refused_by_its_name(flag: str, told: str) -> None:
    result = template(LEAST, f"--set={flag}")
    assert result.returncode != 0, result.stdout
    assert told in result.stderr


def test_without_values_it_says_what_is_needed() -> None:
    result = helm("template", "prod", CHART)
    assert result.returncode != 0
    assert {"/image/repository", "/config/accounts"} <= set(re.findall(r"'(/[\w/]+)'", result.stderr))


@pytest.mark.parametrize(
    ("release", "flags", "name"),
    [
        ("infobip-exporter", [], "infobip-exporter"),
        ("prod", [], "prod-infobip-exporter"),
        ("p" * 53, [], "p" * 50),
        ("prod", ["--set=fullnameOverride=messages"], "messages"),
    ],
)
def test_everything_bears_the_release_s_name_and_it_is_no_longer_than_it_may_be(
    release: str, flags: list[str], name: str
) -> None:
    result = helm("template", release, CHART, f"--values={OPERATOR}", *flags)
    names = {each["metadata"]["name"] for each in yaml.safe_load_all(result.stdout) if each}
    assert names == {name}


def test_its_versions_are_the_exporter_s_and_the_package_has_no_values_of_ours(tmp_path: Path) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert str(chart["appVersion"]) == __version__
    packed = helm("package", CHART, f"--destination={tmp_path}")
    assert packed.returncode == 0, packed.stderr
    [archive] = tmp_path.iterdir()
    held = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True, check=True).stdout.split()
    assert "infobip-exporter/rules.yaml" in held
    assert not [each for each in held if "/ci/" in each]


def test_the_values_in_the_docs_are_taken(tmp_path: Path) -> None:
    shown = [code for code in blocks(DOCS / "operate.md", "yaml") if code.startswith("image:")]
    assert shown
    for code in shown:
        values = tmp_path / "values.yaml"
        values.write_text(code)
        assert (template(values).returncode, template(values).stderr) == (0, "")
