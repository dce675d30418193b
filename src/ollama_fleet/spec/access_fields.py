"""The types of the front door's keys in the grammar."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from ollama_fleet.spec import access, access_acme
from ollama_fleet.spec.secret import SecretReference

Secret = Annotated[
    SecretReference,
    PlainValidator(access.parse_secret),
    WithJsonSchema({"type": "string", "pattern": access.REFERENCE_PATTERN}),
]
Tokens = Annotated[
    dict[str, SecretReference | None],
    PlainValidator(access.parse_tokens),
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {
                access.CLIENT_PATTERN: {
                    "anyOf": [{"type": "string", "pattern": access.REFERENCE_PATTERN}, {"type": "null"}]
                }
            },
            "additionalProperties": False,
        }
    ),
]
CertificateNames = Annotated[
    tuple[str, ...],
    PlainValidator(access.parse_names),
    WithJsonSchema({"type": "array", "items": {"type": "string", "pattern": "^[^@ ]+$"}, "minItems": 1}),
]
Email = Annotated[
    str,
    PlainValidator(access_acme.parse_email),
    WithJsonSchema({"type": "string", "pattern": access_acme.EMAIL_PATTERN}),
]
AcmeServer = Annotated[
    str,
    PlainValidator(access_acme.parse_server),
    WithJsonSchema({"type": "string", "pattern": access_acme.SERVER_PATTERN}),
]
