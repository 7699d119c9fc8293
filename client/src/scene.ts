/** What a page's onLoad gets, or an app's onLaunch and onShow. */
export interface OpenedWith {
  /** Of a page: the scene of the code. Of an app: the number of the way in. */
  scene?: unknown;
  query?: { scene?: unknown } | undefined;
}

/**
 * The scene of the QR code that a page or the app was opened with, decoded:
 * what get_qrcode was given. Empty when it was opened in another way.
 */
export function sceneOf(options: OpenedWith | undefined): string {
  const encoded = options && options.query ? options.query.scene : options && options.scene;
  if (typeof encoded !== "string") {
    return "";
  }
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded; // typed by hand, in DevTools: no scene of a real code has a %
  }
}
