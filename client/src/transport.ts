/** One request. The client only posts JSON. */
export interface TransportRequest {
  url: string;
  headers: Record<string, string>;
  /** JSON text. */
  body: string;
  /** Milliseconds after which to give up. */
  timeout: number;
}

/** One answer, of any status. */
export interface TransportResponse {
  status: number;
  /** The value of a header, whatever its case; empty when it is absent. */
  header(name: string): string;
  /** The body: text, or what the platform made of JSON. */
  body: unknown;
}

/** Brings a request to the service. */
export interface Transport {
  /** Resolves with the answer, whatever its status; rejects only when none arrived. */
  send(request: TransportRequest): Promise<TransportResponse>;
}

/** The part of wx.request and of uni.request that is used here. */
export interface Requester {
  request(options: {
    url: string;
    method: "POST";
    data: string;
    header: Record<string, string>;
    timeout: number;
    success(result: { statusCode: number; data: unknown; header: object }): void;
    fail(error: unknown): void;
  }): unknown;
}

/** Transport over wx.request or uni.request. */
export function requestTransport(platform: Requester): Transport {
  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        platform.request({
          url: request.url,
          method: "POST",
          data: request.body,
          header: request.headers,
          timeout: request.timeout,
          success: (result) =>
            resolve({
              status: result.statusCode,
              header: (name) => valueOf(result.header, name),
              body: result.data,
            }),
          fail: reject,
        });
      }),
  };
}

/** The part of the web's fetch that is used here. */
export type Fetch = (
  url: string,
  init: { method: "POST"; headers: Record<string, string>; body: string; credentials: "omit" },
) => Promise<{ status: number; headers: { get(name: string): string | null }; text(): Promise<string> }>;

/**
 * Transport over fetch, for H5 and Node. Cookies stay out of it: the session
 * travels in a header, which works across origins too.
 */
export function fetchTransport(fetch: Fetch): Transport {
  return {
    send: ({ url, headers, body, timeout }) =>
      within(
        timeout,
        fetch(url, { method: "POST", headers, body, credentials: "omit" }).then((response) =>
          response.text().then((text) => ({
            status: response.status,
            header: (name) => response.headers.get(name) || "",
            body: text,
          })),
        ),
      ),
  };
}

declare function setTimeout(run: () => void, milliseconds: number): unknown;
declare function clearTimeout(timer: unknown): void;

/** Settles as promise does, or rejects after so many milliseconds. */
export function within<T>(milliseconds: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds);
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

function valueOf(headers: object, name: string): string {
  const wanted = name.toLowerCase();
  const all = (headers || {}) as Record<string, unknown>;
  for (const key of Object.keys(all)) {
    if (key.toLowerCase() === wanted) {
      return String(all[key]);
    }
  }
  return "";
}
