"""The session of a request. Part of paster's Python library, which embeds this file."""


class Session(dict):
    """The data of a visitor in the middleware `session`. Values must be JSON. Changes are stored before the response begins."""

    def __init__(self, text):
        import json

        super().__init__(json.loads(text))
        self._text = text
        self._renew = False
        self._end = False

    def renew(self):
        """Gives the session a new id. Call it when a user logs in."""
        self._renew = True

    def end(self):
        """Removes everything and ends the session. Values that are set afterwards start a new session."""
        self.clear()
        self._end = True

    def _changes(self):
        """The changes, as JSON in bytes, or None."""
        import json

        def encode(value):
            try:
                return json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise type(error)(f"the session contains a value that is not JSON: {error}") from None

        before = {} if self._end else json.loads(self._text)
        changed = {key: value for key, value in self.items() if key not in before or encode(before[key]) != encode(value)}
        removed = [key for key in before if key not in self]
        if not (changed or removed or self._renew or self._end):
            return None
        changes = {"set": changed, "remove": removed, "renew": self._renew, "end": self._end}
        return encode(changes).encode()
