"""Other engines and servers beside ours: `skipjoin bench peers`, `bench engine` and `bench live`.

Each peer lives in a virtual environment of its own; `catalogue` names them, and no other folder
does. `engine` decodes without a server, `visit` and `contest` put load on servers; `runners` are the
processes that decode, and `runner` asks one.
"""
