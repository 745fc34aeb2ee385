

def report(folder):
    """What the directory's Python files contain, as JSON."""
    import json
    import sys

    found = []
    for path in files(folder):
        for name, framework in applications(path):
            root, module = place(path, folder)
            root, file = os.path.relpath(root, folder), os.path.relpath(path, folder)
            found.append({"file": file, "root": root, "module": module, "name": name, "framework": framework})
    projects = [{"root": os.path.relpath(root, folder), "settings": settings} for root, settings in django_settings(folder)]
    json.dump({"applications": found, "projects": projects}, sys.stdout)


if __name__ == "__main__":
    import sys

    report(sys.argv[1])
