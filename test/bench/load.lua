-- The load of one run. wrk.go puts a line before this one that sets body, token, values (a file) and
-- pause (ms, 0 for none).

wrk.method = "POST"
wrk.body = body
wrk.headers["Content-Type"] = "application/json"
if token ~= "" then
  wrk.headers["Authorization"] = "Bearer " .. token
end

if values ~= "" then
  -- In each request, the next line of the file replaces the @@@. All lines have the same length, so
  -- that nothing else in the request changes.
  local lines = {}
  for line in io.lines(values) do lines[#lines + 1] = line end
  local head, tail, at = nil, nil, 0

  function init()
    local whole = wrk.format()
    local from, to = whole:find("@+")
    head, tail = whole:sub(1, from - 1), whole:sub(to + 1)
  end

  function request()
    at = at + 1
    if at > #lines then at = 1 end
    return head .. lines[at] .. tail
  end
end

if pause > 0 then
  function delay()
    return math.random(math.floor(pause / 2), math.ceil(pause * 1.5))
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout + e.status, latency:percentile(50), latency:percentile(99)))
end
