/** The argument of a page's onLoad, or of an app's onLaunch and onShow. */
export interface OpenedWith {
  /** Of a page: the scene of the code. Of an app: WeChat's scene number. */
  scene?: unknown;
  query?: { scene?: unknown } | undefined;
}

/**
 * Returns the scene of the QR code that opened the page or the app, decoded: the
 * scene given to get_qrcode. Empty if it was opened in another way.
 */
export function sceneOf(options: OpenedWith | undefined): string {
  const encoded = options && options.query ? options.query.scene : options && options.scene;
  if (typeof encoded !== "string") {
    return "";
  }
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded; // entered in DevTools: the scene of a real code has no %
  }
}
