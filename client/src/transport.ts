/** One request. The client posts JSON, and files by TransportUpload. */
export interface TransportRequest {
  url: string;
  headers: Record<string, string>;
  /** JSON text. */
  body: string;
  /** Milliseconds after which to give up. */
  timeout: number;
}

/**
 * A file: the path that wx.chooseAvatar, wx.chooseMedia or their uni
 * counterparts give, or, over fetch, a File or another Blob.
 */
export type Upload = string | WebBlob;

/** What is known here of the web's Blob. */
export interface WebBlob {
  readonly size: number;
  readonly type: string;
}

/** One request that brings a file, as multipart/form-data. */
export interface TransportUpload {
  url: string;
  /** Without a content type: the platform makes it. */
  headers: Record<string, string>;
  /** The file's field in the form. */
  name: string;
  file: Upload;
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
  /** As send, with a file. A transport without it has no uploadAvatar. */
  upload?(request: TransportUpload): Promise<TransportResponse>;
}

/** The part of wx and of uni that is used here. */
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

/** Transport over wx.request and wx.uploadFile, or those of uni. */
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
    upload: ({ url, headers, name, file, timeout }) =>
      new Promise((resolve, reject) => {
        if (typeof file !== "string") {
          throw new Error("a file's path is needed here");
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
              header: (name) => valueOf(result.header || {}, name), // not every version tells them
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
  // Any: the web's FormData has no name that all who compile this know.
  init: { method: "POST"; headers: Record<string, string>; body: any; credentials: "omit" },
) => Promise<{ status: number; headers: { get(name: string): string | null }; text(): Promise<string> }>;

/**
 * Transport over fetch, for H5 and Node. Cookies stay out of it: the session
 * travels in a header, which works across origins too.
 */
export function fetchTransport(fetch: Fetch): Transport {
  const post = (url: string, headers: Record<string, string>, body: unknown, timeout: number): Promise<TransportResponse> =>
    within(
      timeout,
      fetch(url, { method: "POST", headers, body, credentials: "omit" }).then((response) =>
        response.text().then((text) => ({
          status: response.status,
          header: (name) => response.headers.get(name) || "",
          body: text,
        })),
      ),
    );
  return {
    send: ({ url, headers, body, timeout }) => post(url, headers, body, timeout),
    upload: async ({ url, headers, name, file, timeout }) => {
      if (typeof file === "string") {
        throw new Error("a Blob is needed here");
      }
      const form = new FormData();
      form.append(name, file, name);
      return post(url, headers, form, timeout);
    },
  };
}

declare class FormData {
  append(name: string, value: WebBlob, fileName: string): void;
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
