"""The examples do what they say; a stranger's first minute depends on them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from tether_core.emp.signature import sign

_EXAMPLES = Path(__file__).parents[2] / "examples"


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_the_core_verifies_and_acknowledges_inside_fastapi(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever copies the example would believe forged notifications, or have genuine ones repeated for ever."""
    monkeypatch.setenv("EMP_API_PASSWORD", "s3cret")
    app = _loaded("verify_in_fastapi").app
    told = {"unique_id": "44177a21", "status": "approved", "signature": sign("44177a21", secret="s3cret")}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        for _ in range(2):
            answer = await client.post("/gateway", data=told)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/xml"
            assert "<unique_id>44177a21</unique_id>" in answer.text
        assert capsys.readouterr().out.count("44177a21") == 1
        assert (await client.post("/gateway", data={**told, "signature": "00" * 20})).status_code == 401
        assert (await client.post("/gateway", content=b"{}")).status_code == 400
