"""What an MLflow model or a script is asked, and how it answers."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.support import pyfunc_models as models

from .bench import WORKLOADS, Bench


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python's path as the program has it; models and scripts add their own folders."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path, str(WORKLOADS)])
    yield
    for name in ("doubling", "helper"):
        if name not in before:
            sys.modules.pop(name, None)


def asked(folder: Path, request: Any) -> tuple[int, Any]:
    """What the model of a folder answers."""
    import mlflow.pyfunc
    from pyfunc_requests import PyfuncScoring  # type: ignore[import-not-found]

    scoring = PyfuncScoring(mlflow.pyfunc.load_model(str(folder)))
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    answer: tuple[int, Any] = scoring.respond(body)
    return answer


def test_a_model_with_columns_takes_columns_and_answers_rows(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "m")

    assert asked(folder, models.ROWS) == (200, models.DOUBLED)
    assert asked(folder, {**models.ROWS, "params": {"factor": 3}})[1][0] == {"doubled": 3.0}


def test_a_model_with_a_tensor_takes_a_list(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path / "m", models.TENSOR)

    assert asked(folder, {"input_data": [[1, 2], [3, 4]]}) == (200, [[2.0, 4.0], [6.0, 8.0]])


@pytest.mark.parametrize(
    ("given", "answer"),
    [([1, 2], [2, 4]), ({"a": [1], "b": [2]}, {"a": [2], "b": [4]})],
)
def test_a_model_without_a_signature_takes_what_it_is_given(
    tmp_path: Path, given: Any, answer: Any
) -> None:
    folder = models.write_model(tmp_path / "m", {})

    assert asked(folder, {"input_data": given}) == (200, answer)
    assert asked(folder, models.ROWS) == (200, models.DOUBLED)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"", 400),
        (b"no json", 400),
        (b"[1]", 400),
        ({"inputs": [1]}, 400),
        ({"input_data": [[1]]}, 500),
        ({"input_data": {"columns": ["y"], "index": [0], "data": [[1]]}}, 500),
        ({"input_data": {"columns": ["x"], "index": [0], "data": [["no number"]]}}, 500),
        ({**models.ROWS, "params": {"factor": "many"}}, 500),
    ],
)
def test_a_request_that_the_signature_forbids_is_refused(
    tmp_path: Path, request_: Any, status: int
) -> None:
    found, answer = asked(models.write_model(tmp_path / "m"), request_)

    assert found == status
    assert answer["message"]


def test_a_description_tells_the_columns(tmp_path: Path) -> None:
    import mlflow.pyfunc
    from openapi import documents  # type: ignore[import-not-found]
    from pyfunc_requests import PyfuncScoring

    model = mlflow.pyfunc.load_model(str(models.write_model(tmp_path / "m")))
    described = documents(*PyfuncScoring(model).schemas())

    asked = described["2"]["definitions"]["ServiceInput"]["properties"]["input_data"]
    assert asked["x-columns"] == {"x": {"type": "number"}}
    rows = described["3"]["components"]["schemas"]["ServiceOutput"]["items"]
    assert rows["properties"] == {"doubled": {"type": "number"}}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("def init(): pass\n", "has no function run()"),
        ("def run(data): pass\n", "has no function init()"),
        ("def init(): pass\ndef run(): pass\n", "an argument for input data"),
    ],
)
def test_a_script_that_cannot_be_asked_ends_the_program(
    tmp_path: Path, script: str, said: str
) -> None:
    from script_requests import ScriptScoring  # type: ignore[import-not-found]

    folder = models.write_script(tmp_path / "s", script)

    with pytest.raises(SystemExit, match=said.replace("(", r"\(").replace(")", r"\)")):
        ScriptScoring(folder / "score.py")


def test_what_a_script_raises_is_a_failure_without_its_text(tmp_path: Path) -> None:
    from script_requests import ScriptScoring

    text = "def init(): pass\ndef run(data): return 1 / len(data)\n"
    scoring = ScriptScoring(models.write_script(tmp_path / "s", text) / "score.py")

    assert scoring.respond(b"1234") == (200, 0.25)
    status, answer = scoring.respond(b"")
    assert status == 500 and "ZeroDivision" not in answer["message"]
    assert scoring.respond(b"\xff")[0] == 400


def test_a_model_that_is_served_answers_and_describes_itself(bench: Bench, tmp_path: Path) -> None:
    with bench.serving(models.write_model(tmp_path / "m")) as scorer:
        answer = scorer.http.post("/score", json=models.ROWS)
        assert (answer.status_code, answer.json()) == (200, models.DOUBLED)
        assert scorer.http.get("/swagger.json").json()["swagger"] == "2.0"
        assert scorer.http.get("/swagger.json?version=3").json()["openapi"] == "3.0.3"
        assert scorer.http.get("/swagger.json?version=9").status_code == 404


def test_a_folder_without_the_flavor_that_scores_ends_the_program(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {}}\n")
    ran = bench.run("score.py", "--model", tmp_path, "--port-file", tmp_path / "port")

    assert ran.code == 1
    assert "has no flavor 'python_function'" in ran.log
