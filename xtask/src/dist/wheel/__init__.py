"""The command `paster`: a web server, application launcher and scaffolder."""

import os
import sysconfig


def find_program():
    """The path of the program that was installed with this package."""
    schemes = [sysconfig.get_default_scheme() if hasattr(sysconfig, "get_default_scheme") else None]
    schemes.append(f"{os.name}_user")
    for scheme in schemes:
        paths = sysconfig.get_paths(scheme) if scheme else sysconfig.get_paths()
        path = os.path.join(paths["scripts"], "paster")
        if os.path.isfile(path):
            return path
    raise FileNotFoundError("the program `paster` is not where pip installs programs: install the package again")
