"""The picture wall: one page and the tutorial's three calls over HTTP, for the user's own browser.

Imports none of the daemon's other rooms; what it may ask of them comes as an
:class:`~memewatchd.service.web.inside.Inside`. Everything runs on the daemon's event loop, files are
touched in threads. Nothing asked for is logged.
"""

from memewatchd.errors import ConfigError

try:
    import python_multipart  # noqa: F401 - Starlette looks for it only when the first upload comes
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ConfigError(f"http needs the web extra ({error.name} is missing): pip install 'memewatchd[web]'") from error
