// The client of shares. See README.md.
export { Client, type ClientOptions, type LoggedIn } from "./client.js";
export { codes, SharesError, type Language } from "./errors.js";
export * from "./generated.js";
export type { SessionStorage } from "./keeper.js";
export { forUni, forWeixin, type PlatformOptions, type Uni, type Weixin } from "./platform.js";
export { sceneOf, type OpenedWith } from "./scene.js";
export {
  fetchTransport,
  requestTransport,
  type Call,
  type Fetch,
  type Requester,
  type Transport,
  type TransportRequest,
  type TransportResponse,
  type TransportUpload,
  type Upload,
  type WebBlob,
} from "./transport.js";
