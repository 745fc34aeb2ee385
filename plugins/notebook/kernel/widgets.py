# A part of the built-in kernel: wire.py has the imports.
#
# Controls for `interact`, in the protocol of Jupyter's widgets. The page has their views.
#
# Source: ipywidgets, "Jupyter widget messaging protocol 2".


WIDGET_VERSION = {"version": "2.1.0"}
CONTROL_TARGET = "jupyter.widget.control"


class Comm:
    """One comm, opened by the kernel or by a page."""

    def __init__(self, target_name, comm_id=None):
        self.target_name = target_name
        self.comm_id = comm_id or uuid.uuid4().hex
        self.receive = lambda data: None
        KERNEL.comms[self.comm_id] = self

    def say(self, kind, data, metadata=None):
        content = {"comm_id": self.comm_id, "data": data}
        if kind == "comm_open":
            content["target_name"] = self.target_name
        KERNEL.connection.send("iopub", kind, content, KERNEL.parent, metadata)

    def send(self, data):
        self.say("comm_msg", data)

    def close(self):
        KERNEL.comms.pop(self.comm_id, None)
        self.say("comm_close", {})


def take_comm_message(request):
    """Handles a comm message of a page."""
    kind, content = request["header"]["msg_type"], request["content"]
    comm_id, data = content["comm_id"], content.get("data") or {}
    if kind == "comm_open":
        comm = Comm(content.get("target_name"), comm_id)
        if comm.target_name == CONTROL_TARGET:
            comm.receive = lambda data: tell_states(comm, data)
        else:
            comm.close()
    elif comm_id in KERNEL.comms:
        if kind == "comm_close":
            del KERNEL.comms[comm_id]
        else:
            KERNEL.comms[comm_id].receive(data)


def tell_states(comm, data):
    """A page asks for the state of all widgets."""
    if data.get("method") == "request_states":
        states = {
            comm_id: {
                "model_name": comm.widget.state["_model_name"],
                "model_module": comm.widget.state["_model_module"],
                "model_module_version": comm.widget.state["_model_module_version"],
                "state": comm.widget.state,
            }
            for comm_id, comm in KERNEL.comms.items()
            if getattr(comm, "widget", None) is not None
        }
        comm.send({"method": "update_states", "states": states, "buffer_paths": []})


class Widget:
    """One widget: its state here is what every page shows."""

    def __init__(self, model, module="@jupyter-widgets/controls", version="2.0.0", view=None, **state):
        self.state = {
            "_model_module": module,
            "_model_module_version": version,
            "_model_name": model + "Model",
            "_view_module": module,
            "_view_module_version": version,
            "_view_name": view or model + "View",
        }
        self.state.update(state)
        self.changed = lambda: None
        self.comm = None

    def open(self):
        """Makes the widget known to the pages, with its layout. Returns the reference to it in other widgets."""
        if self.comm is None:
            if self.state["_model_module"] != "@jupyter-widgets/base":
                layout = Widget("Layout", module="@jupyter-widgets/base")
                self.state.setdefault("layout", layout.open())
            self.comm = Comm("jupyter.widget")
            self.comm.widget = self
            self.comm.receive = self.receive
            self.comm.say("comm_open", {"state": self.state, "buffer_paths": []}, WIDGET_VERSION)
        return "IPY_MODEL_" + self.comm.comm_id

    def set(self, **state):
        self.state.update(state)
        if self.comm is not None:
            self.comm.send({"method": "update", "state": state, "buffer_paths": []})

    def receive(self, data):
        """A page changed the state, or asks for it."""
        if data.get("method") == "request_state":
            self.comm.send({"method": "update", "state": self.state, "buffer_paths": []})
        elif data.get("method") == "update":
            state = data.get("state") or {}
            self.state.update(state)
            self.comm.send({"method": "echo_update", "state": state, "buffer_paths": []})
            self.changed()

    @property
    def value(self):
        return self.state["value"]

    def _repr_mimebundle_(self, include=None, exclude=None):
        self.open()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.comm.comm_id}
        return {"application/vnd.jupyter.widget-view+json": view, "text/plain": repr(self)}

    def __repr__(self):
        return "%s(%r)" % (type(self).__name__, self.state.get("value"))


class _Slider(Widget):
    def __init__(self, model, format, value, min, max, step, description, continuous_update):
        value = min if value is None else builtins.min(builtins.max(value, min), max)
        style = Widget("SliderStyle", view="StyleView")
        style.state.update(_view_module="@jupyter-widgets/base")
        super().__init__(
            model, value=value, min=min, max=max, step=step, description=description, readout_format=format,
            continuous_update=continuous_update,
        )
        self.style = style

    def open(self):
        self.state.setdefault("style", self.style.open())
        return super().open()


class IntSlider(_Slider):
    def __init__(self, value=None, min=0, max=100, step=1, description="", continuous_update=True):
        super().__init__("IntSlider", "d", value, min, max, step, description, continuous_update)


class FloatSlider(_Slider):
    def __init__(self, value=None, min=0.0, max=10.0, step=0.1, description="", continuous_update=True):
        super().__init__("FloatSlider", ".2f", value, min, max, step, description, continuous_update)


class Checkbox(Widget):
    def __init__(self, value=False, description=""):
        super().__init__("Checkbox", value=bool(value), description=description, indent=True)


class Text(Widget):
    def __init__(self, value="", description=""):
        super().__init__("Text", value=value, description=description, continuous_update=False)


class Dropdown(Widget):
    """A choice: `options` is a list of values, a list of (label, value) or a dict of them."""

    def __init__(self, options=(), value=None, description=""):
        pairs = list(options.items()) if isinstance(options, dict) else list(options)
        pairs = [pair if isinstance(pair, tuple) and len(pair) == 2 else (str(pair), pair) for pair in pairs]
        self.values = [value for _, value in pairs]
        index = self.values.index(value) if value in self.values else (0 if pairs else None)
        labels = [str(label) for label, _ in pairs]
        super().__init__("Dropdown", _options_labels=labels, index=index, description=description)

    @property
    def value(self):
        index = self.state["index"]
        return None if index is None else self.values[index]


class fixed:
    """An argument of `interact` without a control."""

    def __init__(self, value):
        self.value = value


def control_of(name, value):
    """The control for an argument, from what `interact` got for it."""
    if isinstance(value, (Widget, fixed)):
        control = value
    elif isinstance(value, bool):
        control = Checkbox(value)
    elif isinstance(value, str):
        control = Text(value)
    elif isinstance(value, (int, float)):
        kind = IntSlider if isinstance(value, int) else FloatSlider
        ends = (-value, 3 * value) if value > 0 else (3 * value, -value) if value < 0 else (0, 1)
        control = kind(value, *ends)
    elif isinstance(value, tuple) and len(value) in (2, 3) and all(isinstance(item, (int, float)) for item in value):
        whole = all(isinstance(item, int) for item in value)
        step = value[2] if len(value) == 3 else (1 if whole else (value[1] - value[0]) / 100)
        middle = value[0] + (value[1] - value[0]) / 2
        control = (IntSlider if whole else FloatSlider)(int(middle) if whole else middle, value[0], value[1], step)
    elif isinstance(value, (dict, list, tuple, range)):
        control = Dropdown(value)
    else:
        raise TypeError("interact: there is no control for `%s=%r`" % (name, value))
    if isinstance(control, Widget) and not control.state.get("description"):
        control.state["description"] = name
    return control


def interact(function=None, **controls):
    """Shows a control for each argument, and calls the function again when one changes.

    As a decorator, `@interact(n=(1, 10), name=["a", "b"])`, or as a call, `interact(function, n=5)`. A pair of numbers makes a
    slider, a list or dict a choice, a bool a checkbox and a text a field. Defaults of arguments count too.
    """
    if function is None:
        return lambda function: interact(function, **controls)
    arguments = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in controls:
            arguments[name] = control_of(name, controls[name])
        elif parameter.default is not inspect.Parameter.empty:
            arguments[name] = control_of(name, parameter.default)
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError("interact: `%s` needs a value, such as `%s=(0, 10)`" % (name, name))
        elif parameter.kind is parameter.VAR_KEYWORD:
            arguments.update((key, control_of(key, controls[key])) for key in controls if key not in arguments)
    unknown = sorted(set(controls) - set(arguments))
    if unknown:
        raise TypeError("interact: the function has no argument `%s`" % unknown[0])
    output = Widget("Output", module="@jupyter-widgets/output", version="1.0.0", outputs=[], msg_id="")

    def call():
        output.set(msg_id=KERNEL.parent["header"]["msg_id"])
        try:
            clear_output(wait=True)
            value = function(**{name: control.value for name, control in arguments.items()})
            show_figures()
            if value is not None:
                display(value)
        except Exception as error:
            KERNEL.error(error, False, KERNEL.parent)
        finally:
            KERNEL.flush()
            output.set(msg_id="")

    widgets = [control for control in arguments.values() if isinstance(control, Widget)]
    for widget in widgets:
        widget.changed = call
    children = [widget.open() for widget in widgets] + [output.open()]
    box = Widget("VBox", children=children, _dom_classes=["widget-interact"])
    display(box)
    call()
    try:
        function.widget = box
    except AttributeError:
        pass
    return function
