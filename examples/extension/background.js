// The entry "Describe this picture" of pictures' menus, which opens describe.html beside the page.
chrome.runtime.onInstalled.addListener(() =>
  chrome.contextMenus.create({ id: 'describe', title: 'Describe this picture', contexts: ['image'] }),
);

chrome.contextMenus.onClicked.addListener(({ srcUrl }) => {
  const url = `describe.html?${new URLSearchParams({ picture: srcUrl })}`;
  chrome.windows.create({ url, type: 'popup', width: 480, height: 420 });
});
