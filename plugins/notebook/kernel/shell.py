# A part of the built-in kernel: wire.py has the imports. Commands of the shell.


def expand(command):
    """Replaces `{expression}` and `$name` by values of the notebook. What has no value is left to the shell."""

    def value(found):
        whole, expression, name = found.group(0), found.group(1), found.group(2)
        if whole in ("{{", "}}"):
            return whole[0]
        try:
            return str(eval(expression or name, KERNEL.namespace) if expression else KERNEL.namespace[name])
        except Exception:
            return whole

    return re.sub(r"\{\{|\}\}|\{([^{}\n]+)\}|\$([^\W\d]\w*)", value, command)


def follow(arguments, shell=False):
    """Runs a program and shows what it prints while it runs. Returns its exit status."""
    import subprocess

    process = subprocess.Popen(
        arguments, shell=shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    readers = []
    for pipe, stream in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
        reader = threading.Thread(target=copy_text, args=(pipe, stream), daemon=True)
        reader.start()
        readers.append(reader)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # It got the signal too; it may need a moment to end.
        try:
            process.wait(0.25)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    for reader in readers:
        # A program that it left in the background may keep the pipes open.
        reader.join(0.5)
    return status


def copy_text(pipe, stream):
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    while True:
        chunk = os.read(pipe.fileno(), 65536)
        if not chunk:
            pipe.close()
            return
        stream.write(decode(chunk))


def run_command(command):
    status = follow(expand(command), shell=True)
    KERNEL.namespace["_exit_code"] = status
    if status:
        print("[exit status %d]" % status, file=sys.stderr)


def read_command(command):
    """The lines that a command prints."""
    import subprocess

    done = subprocess.run(
        expand(command), shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    KERNEL.namespace["_exit_code"] = done.returncode
    return done.stdout.decode("utf-8", "replace").splitlines()
