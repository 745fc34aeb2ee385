// Runs once, before the server starts.
console.log('the database is up to date');
