import { codes, SharesError } from "./errors.js";

/** One call of an endpoint, by the parts of its request in shares.api. */
export interface Call {
  method: string;
  path: string;
  /** Values by name. Undefined and null are omitted; a list repeats its name. */
  query?: object;
  headers?: object;
  /** Sent as JSON. */
  body?: object;
  /** Sent as multipart/form-data instead. */
  file?: Upload;
}

/** One request. */
export interface TransportRequest {
  method: string;
  url: string;
  headers: Record<string, string>;
  /** JSON text, or absent. */
  body?: string;
  /** In milliseconds. */
  timeout: number;
}

/**
 * A file: a path from wx.chooseAvatar, wx.chooseMedia or their uni
 * counterparts, or, over fetch, a File or another Blob.
 */
export type Upload = string | WebBlob;

/** The part of the web's Blob that is used here. */
export interface WebBlob {
  readonly size: number;
  readonly type: string;
}

/** One request with a file, as multipart/form-data. */
export interface TransportUpload {
  url: string;
  /** Without a content type, which the platform sets. */
  headers: Record<string, string>;
  /** The file's field in the form. */
  name: string;
  file: Upload;
  /** In milliseconds. */
  timeout: number;
}

/** One answer, with any status. */
export interface TransportResponse {
  status: number;
  /** Returns the value of a header, case-insensitively; empty if it is absent. */
  header(name: string): string;
  /** The body: text, or the value that the platform has decoded from JSON. */
  body: unknown;
}

/** Sends requests to the service. */
export interface Transport {
  /** Resolves with an answer of any status; rejects only if none arrived. */
  send(request: TransportRequest): Promise<TransportResponse>;
  /** Like send, with a file. uploadAvatar needs it. */
  upload?(request: TransportUpload): Promise<TransportResponse>;
}

/** The part of wx and of uni that is used here. */
export interface Requester {
  request(options: {
    url: string;
    method: "GET" | "POST" | "PUT" | "DELETE";
    data?: string;
    header: Record<string, string>;
    timeout: number;
    success(result: { statusCode: number; data: unknown; header: object }): void;
    fail(error: unknown): void;
  }): unknown;
  uploadFile(options: {
    url: string;
    filePath: string;
    name: string;
    header: Record<string, string>;
    timeout: number;
    success(result: { statusCode: number; data: unknown; header?: object }): void;
    fail(error: unknown): void;
  }): unknown;
}

/** Returns a transport over wx.request and wx.uploadFile, or uni's. */
export function requestTransport(platform: Requester): Transport {
  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        const { method, body } = request;
        if (method !== "GET" && method !== "POST" && method !== "PUT" && method !== "DELETE") {
          throw misused(`a mini program cannot send ${method}`);
        }
        platform.request({
          url: request.url,
          method,
          ...(body === undefined ? {} : { data: body }),
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
    upload: ({ url, headers, name, file, timeout }) =>
      new Promise((resolve, reject) => {
        if (typeof file !== "string") {
          throw misused("uploadAvatar: a mini program needs the path of a file");
        }
        platform.uploadFile({
          url,
          filePath: file,
          name,
          header: headers,
          timeout,
          success: (result) =>
            resolve({
              status: result.statusCode,
              header: (name) => valueOf(result.header || {}, name), // missing in some versions
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
  // The type is any, because not every project that compiles this knows FormData.
  init: { method: string; headers: Record<string, string>; body?: any; credentials: "omit" },
) => Promise<{ status: number; headers: { get(name: string): string | null }; text(): Promise<string> }>;

/**
 * Returns a transport over fetch, for H5 and Node. It sends no cookies: the
 * session is in a header, which also works across origins.
 */
export function fetchTransport(fetch: Fetch): Transport {
  const exchange = (
    method: string,
    { url, headers, timeout }: { url: string; headers: Record<string, string>; timeout: number },
    body: unknown,
  ): Promise<TransportResponse> =>
    within(
      timeout,
      fetch(url, { method, headers, ...(body === undefined ? {} : { body }), credentials: "omit" }).then((response) =>
        response.text().then((text) => ({
          status: response.status,
          header: (name) => response.headers.get(name) || "",
          body: text,
        })),
      ),
    );
  return {
    send: (request) => exchange(request.method, request, request.body),
    upload: async (request) => {
      if (typeof request.file === "string") {
        throw misused("uploadAvatar: outside a mini program, pass a File or another Blob, not a path");
      }
      const form = new FormData();
      form.append(request.name, request.file, request.name);
      return exchange("POST", request, form);
    },
  };
}

/** Returns the error of a call that cannot be sent. */
function misused(msg: string): SharesError {
  return new SharesError({ code: codes.invalid, msg });
}

declare class FormData {
  append(name: string, value: WebBlob, fileName: string): void;
}

declare function setTimeout(run: () => void, milliseconds: number): unknown;
declare function clearTimeout(timer: unknown): void;

/** Settles like promise, or rejects after the given time. */
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
