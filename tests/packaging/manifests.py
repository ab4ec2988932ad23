"""What Kubernetes and the Prometheus operator allow in a manifest, and the programs that make manifests."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.docs.pages import REPOSITORY


def _program(name: str) -> str | None:
    """The one that `make go-tools` has built, or the machine's own."""
    return shutil.which(name, path=REPOSITORY / ".go" / "bin") or shutil.which(name)


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(_program(name) is None, reason=f"{name} is not built: make go-tools")


def built(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Helm or kustomize, run."""
    program = _program(name)
    assert program is not None
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


@cache
def kinds() -> dict[tuple[str, str], type[BaseModel]]:
    """What each kind may hold. These modules take seconds to import: only when a test of them is run."""
    from cloudcoil.models.kubernetes.apps import v1 as apps  # noqa: PLC0415
    from cloudcoil.models.kubernetes.core import v1 as core  # noqa: PLC0415
    from cloudcoil.models.kubernetes.networking import v1 as networking  # noqa: PLC0415
    from cloudcoil.models.kubernetes.policy import v1 as policy  # noqa: PLC0415
    from cloudcoil.models.prometheus_operator import v1 as operator  # noqa: PLC0415

    return {
        ("apps/v1", "StatefulSet"): apps.StatefulSet,
        ("v1", "ConfigMap"): core.ConfigMap,
        ("v1", "Service"): core.Service,
        ("networking.k8s.io/v1", "NetworkPolicy"): networking.NetworkPolicy,
        ("policy/v1", "PodDisruptionBudget"): policy.PodDisruptionBudget,
        ("monitoring.coreos.com/v1", "PrometheusRule"): operator.PrometheusRule,
        ("monitoring.coreos.com/v1", "ServiceMonitor"): operator.ServiceMonitor,
    }


def check(manifest: Any) -> None:
    """ValidationError for what has a wrong type, value or is missing; AssertionError for what nobody knows."""
    kind = kinds()[manifest["apiVersion"], manifest["kind"]]
    understood = kind.model_validate(manifest)
    # Unknown keys are left out without a word.
    assert understood.model_dump(mode="json", by_alias=True, exclude_unset=True) == manifest
