"""Write the environment file of the demo, once: new secrets, SQLite, plain HTTP."""

import secrets
import sys
from pathlib import Path

folder = Path(sys.argv[1]).resolve()
folder.mkdir(parents=True, exist_ok=True)
env = folder / "env"
if not env.exists():
    env.touch(mode=0o600)
    env.write_text(
        "DEMO=on\n"
        f"SECRET_KEY={secrets.token_urlsafe(48)}\n"
        f"JWT_SIGNING_KEY={secrets.token_urlsafe(48)}\n"
        f"DATABASE_URL=sqlite:///{folder / 'db.sqlite3'}\n"
        "HTTPS=off\n"
        "CLIENT_URL=\n"
    )
for missing in ("DEMO=on", "CLIENT_URL="):  # in a file that an earlier version wrote
    if missing.partition("=")[0] + "=" not in env.read_text():
        with env.open("a") as file:
            file.write(f"{missing}\n")
