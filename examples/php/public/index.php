<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>PHP behind paster</title>
<h1>PHP <?= htmlspecialchars(PHP_VERSION) ?></h1>
<p>You asked for <code><?= htmlspecialchars($_SERVER["REQUEST_URI"]) ?></code>.</p>
</html>
