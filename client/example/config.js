// Where `make run` says that it listens. A phone needs the computer's address
// here instead of 127.0.0.1, and SHARES_HOST=0.0.0.0 there.
module.exports = { baseURL: "http://127.0.0.1:8082" };
