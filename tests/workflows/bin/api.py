"""What the stubs of gh and cml share: the stand-in's API over TLS, and refusing what the real commands do not know."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from typing import Any, NoReturn


def refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(1)


def call(method: str, path: str, token: str, body: str | None = None) -> Any:
    data = None if body is None else json.dumps({"body": body}).encode()
    request = urllib.request.Request(f"{os.environ['STUB_API']}/{path.lstrip('/')}", data=data, method=method)
    request.add_header("Authorization", f"Bearer {token}")
    context = ssl.create_default_context(cafile=os.environ["NODE_EXTRA_CA_CERTS"])
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        refuse(f"HTTP {error.code}: {json.load(error)['message']}")
