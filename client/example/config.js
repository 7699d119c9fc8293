// The address that `make run` prints. For a phone, use the computer's address
// here instead of 127.0.0.1, and set SHARES_HOST=0.0.0.0 for `make run`.
module.exports = { baseURL: "http://127.0.0.1:8082" };
