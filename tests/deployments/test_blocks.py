"""The blocks: registered by one command, secrets hidden, one flow on two workspaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from deployments.local_stack import ROOT
from tests.conftest import RunningEmulator, run_python
from tests.support.prefect_servers import Server

TYPES = {"azure-ml-workspace", "azure-ml-credential"}


def register(server: Server) -> str:
    command = ("-m", "prefect", "block", "register", "--module", "tasks.blocks")
    done = run_python(server.env, *command, seconds=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def save(server: Server, name: str, workspace: str, secret: str) -> None:
    """Make a workspace block with its credential, as a person does in the UI."""
    types = {slug: server.ask("GET", f"/block_types/slug/{slug}")["id"] for slug in TYPES}
    schema = {
        slug: server.ask(
            "POST",
            "/block_schemas/filter",
            {"block_schemas": {"block_type_id": {"any_": [types[slug]]}}},
        )[0]["id"]
        for slug in TYPES
    }
    credential = server.ask(
        "POST",
        "/block_documents/",
        {
            "name": f"{name}-login",
            "block_type_id": types["azure-ml-credential"],
            "block_schema_id": schema["azure-ml-credential"],
            "data": {
                "kind": "service_principal",
                "tenant_id": "a-tenant",
                "client_id": "a-client",
                "client_secret": secret,
            },
        },
    )
    server.ask(
        "POST",
        "/block_documents/",
        {
            "name": name,
            "block_type_id": types["azure-ml-workspace"],
            "block_schema_id": schema["azure-ml-workspace"],
            "data": {
                "subscription_id": "sub",
                "resource_group": "rg",
                "workspace_name": workspace,
                "credential": {"$ref": {"block_document_id": credential["id"]}},
            },
        },
    )


def test_one_command_registers_both(server: Server) -> None:
    register(server)
    register(server)  # safe to repeat

    for slug in TYPES:
        assert server.ask("GET", f"/block_types/slug/{slug}")["slug"] == slug


def test_a_secret_is_stored_as_one_and_not_shown(server: Server) -> None:
    register(server)
    save(server, "team-secret", "ws-secret", "s3cr3t-value")

    shown = json.dumps(server.ask("POST", "/block_documents/filter", {"include_secrets": False}))

    assert "ws-secret" in shown
    assert "s3cr3t-value" not in shown


def test_two_blocks_are_two_workspaces(server: Server, emulator: RunningEmulator) -> None:
    register(server)
    save(server, "team-a", "workspace-a", "first-secret")
    save(server, "team-b", "workspace-b", "second-secret")
    program = (
        "from tasks.connection import find_settings\n"
        "import sys\n"
        "import os\n"
        "for name in sys.argv[1:]:\n"
        "    os.environ['FINETUNE_BLOCK'] = name\n"
        "    found = find_settings()\n"
        "    print(found.workspace_name, found.credential.kind, repr(found.credential))\n"
    )
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("AZURE", "ARM_"))}

    done = subprocess.run(
        [sys.executable, "-c", program, "team-a", "team-b"],
        cwd=ROOT,
        env={**mine, **server.env},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("workspace-a service_principal")
    assert second.startswith("workspace-b service_principal")
    assert "-secret" not in done.stdout.replace("client_secret", "")
