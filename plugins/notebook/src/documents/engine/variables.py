__import__('base64').b64encode(__import__('json').dumps([
    (lambda name, value: [
        name,
        type(value).__name__,
        (lambda shape: 'x'.join(map(str, shape)) if isinstance(shape, tuple) else str(len(value)) if isinstance(value, (str, bytes, list, tuple, dict, set, frozenset, range)) else '')(getattr(value, 'shape', None) if type(value).__module__.split('.')[0] in ('numpy', 'pandas', 'polars', 'torch', 'xarray', 'scipy') else None),
        repr(value)[:200] if isinstance(value, (bool, int, float, complex, type(None))) or isinstance(value, (str, bytes)) and len(value) < 10000 or isinstance(value, (list, tuple, dict, set)) and len(value) < 100 and all(isinstance(item, (bool, int, float, str, type(None))) for item in value) else '',
    ])(name, value)
    for name, value in sorted(globals().items())
    if not name.startswith('_') and name not in ('In', 'Out', 'exit', 'quit', 'open', 'get_ipython')
    and not isinstance(value, (type(__import__('sys')), type, type(lambda: 0), type(len)))
][:500]).encode()).decode()
