// Libraries are scripts of the old kind, each loaded when it is needed first.
const loading = new Map();

/// Loads `NAME.js` from beside this file, once.
export function library(name) {
  if (!loading.has(name)) {
    const loaded = new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = new URL(`${name}.js`, import.meta.url);
      script.onload = done;
      script.onerror = () => fail(new Error(`${name}.js was not loaded.`));
      document.head.append(script);
    });
    loaded.catch(() => loading.delete(name));
    loading.set(name, loaded);
  }
  return loading.get(name);
}
