"""The description of a scoring process, as Azure's inference server gives it at /swagger.json.

Version 2 unless ``?version=`` says 3 or 3.1. Facts of azureml-inference-server,
``server/swagger.py`` and its templates: the names of definitions, the paths, the key's place.
"""

from typing import Any

Schema = dict[str, Any]

INFO = {"title": "ML service", "version": "1.0", "description": "A deployed model."}
BEARER = {"type": "apiKey", "name": "Authorization", "in": "header"}
ERROR: Schema = {"type": "object", "properties": {"message": {"type": "string"}}}
TEXT = {"type": "string"}


def documents(inputs: Schema, outputs: Schema) -> dict[str, Schema]:
    """The descriptions by every name of their version."""
    schemas = {"ServiceInput": inputs, "ServiceOutput": outputs, "ErrorResponse": ERROR}
    old, new = second(schemas), third(schemas)
    newest = {**new, "openapi": "3.1.0"}
    return {"2": old, "2.0": old, "3": new, "3.0": new, "3.1": newest}


def second(schemas: dict[str, Schema]) -> Schema:
    def answer(name: str) -> Schema:
        return {"description": name, "schema": {"$ref": f"#/definitions/{name}"}}

    body = {"name": "serviceInputPayload", "in": "body", "required": True}
    body["schema"] = {"$ref": "#/definitions/ServiceInput"}
    alive = {"200": {"description": "Alive", "schema": TEXT}}
    scored = {"200": answer("ServiceOutput"), "default": answer("ErrorResponse")}
    return {
        "swagger": "2.0",
        "info": INFO,
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {"Bearer": BEARER},
        "paths": {
            "/": {"get": {"operationId": "ServiceHealthCheck", "responses": alive}},
            "/score": {
                "post": {
                    "operationId": "RunMLService",
                    "parameters": [body],
                    "responses": scored,
                    "security": [{"Bearer": []}],
                }
            },
        },
        "definitions": schemas,
    }


def third(schemas: dict[str, Schema]) -> Schema:
    def content(name: str) -> Schema:
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}

    alive = {"200": {"description": "Alive", "content": {"text/plain": {"schema": TEXT}}}}
    scored = {
        "200": {"description": "ServiceOutput", "content": content("ServiceOutput")},
        "default": {"description": "ErrorResponse", "content": content("ErrorResponse")},
    }
    return {
        "openapi": "3.0.3",
        "info": INFO,
        "paths": {
            "/": {"get": {"operationId": "ServiceHealthCheck", "responses": alive}},
            "/score": {
                "post": {
                    "operationId": "RunMLService",
                    "requestBody": {"required": True, "content": content("ServiceInput")},
                    "responses": scored,
                    "security": [{"Bearer": []}],
                }
            },
        },
        "components": {"schemas": schemas, "securitySchemes": {"Bearer": BEARER}},
    }
